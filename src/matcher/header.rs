//! Owns `envoy.config.route.v3.HeaderMatcher`.

use super::TextMatcher;
use crate::codec::{Known, RequestHead, ResponseHead};

/// A test of a request's header.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    name: HeaderName,
    test: HeaderTest,
    inverted: bool,
    /// `treat_missing_header_as_empty`
    missing_is_empty: bool,
}

/// What a header must be like.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// There, or not there.
    Present(bool),
    /// One of its values is like that.
    Text(TextMatcher),
    /// One of its values is a whole number from the first up to, but not, the second.
    Range(i64, i64),
}

/// Whose value is tested.
#[derive(Clone, Debug)]
pub enum HeaderName {
    /// `:path`
    Path,
    /// `:method`
    Method,
    /// `:authority`, `host`
    Authority,
    /// `:scheme`
    Scheme,
    /// Any other, in lower case.
    Header(Box<[u8]>),
}

// === impl HeaderName ===

impl HeaderName {
    /// The header called so, in any case.
    pub fn new(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":path" => HeaderName::Path,
            ":method" => HeaderName::Method,
            ":authority" | "host" => HeaderName::Authority,
            ":scheme" => HeaderName::Scheme,
            lower => HeaderName::Header(lower.as_bytes().into()),
        }
    }

    /// Its values in a request.
    pub fn values<'h>(&self, head: &'h RequestHead) -> impl Iterator<Item = &'h [u8]> {
        let (own, name): (Option<&[u8]>, Option<&[u8]>) = match self {
            HeaderName::Path => (Some(head.path()), None),
            HeaderName::Method => (Some(head.method.as_str().as_bytes()), None),
            HeaderName::Authority => (head.has_authority().then(|| head.authority()), None),
            HeaderName::Scheme => (Some(scheme(head)), None),
            HeaderName::Header(name) => (None, Some(name)),
        };
        let listed = name.into_iter().flat_map(|name| head.headers.get_all_named(name));
        own.into_iter().chain(listed)
    }
}

/// What routes and matchers see as `:scheme`.
fn scheme(head: &RequestHead) -> &[u8] {
    head.headers.get(Known::XForwardedProto).unwrap_or(b"http")
}

// === impl HeaderMatcher ===

impl HeaderMatcher {
    /// A matcher of the header called so, in any case.
    pub fn new(name: &str, test: HeaderTest, inverted: bool, missing_is_empty: bool) -> Self {
        Self { name: HeaderName::new(name), test, inverted, missing_is_empty }
    }

    /// What it tests, in lower case.
    pub fn name(&self) -> &[u8] {
        match &self.name {
            HeaderName::Path => b":path",
            HeaderName::Method => b":method",
            HeaderName::Authority => b":authority",
            HeaderName::Scheme => b":scheme",
            HeaderName::Header(name) => name,
        }
    }

    /// Whether the request has such a header. A header that is missing passes no test but that of not being
    /// there, be the test inverted or not.
    ///
    /// Observed: Envoy 1.40, a route for each kind of `HeaderMatcher` and requests with none, one and two values.
    pub fn matches(&self, head: &RequestHead) -> bool {
        match &self.name {
            HeaderName::Path => self.passes([head.path()].into_iter()),
            HeaderName::Method => self.passes([head.method.as_str().as_bytes()].into_iter()),
            HeaderName::Authority => {
                self.passes(head.has_authority().then(|| head.authority()).into_iter())
            }
            HeaderName::Scheme => self.passes([scheme(head)].into_iter()),
            HeaderName::Header(name) => self.passes(head.headers.get_all_named(name)),
        }
    }

    /// The same of a response, which has no path, method, authority or scheme.
    pub fn matches_response(&self, head: &ResponseHead) -> bool {
        match &self.name {
            HeaderName::Header(name) if &**name == b":status" => {
                self.passes([itoa::Buffer::new().format(head.status).as_bytes()].into_iter())
            }
            HeaderName::Header(name) => self.passes(head.headers.get_all_named(name)),
            HeaderName::Path | HeaderName::Method | HeaderName::Authority | HeaderName::Scheme => {
                self.passes(std::iter::empty())
            }
        }
    }

    fn passes<'h>(&self, values: impl Iterator<Item = &'h [u8]>) -> bool {
        let mut values = values.peekable();
        let (missing, empty): (bool, &[u8]) = (values.peek().is_none(), b"");
        let stand_in = (missing && self.missing_is_empty).then_some(empty);
        let mut values = values.chain(stand_in).peekable();
        let there = values.peek().is_some();
        match &self.test {
            HeaderTest::Present(wanted) => (there == *wanted) != self.inverted,
            _ if !there => false,
            HeaderTest::Text(text) => values.any(|value| text.matches(value)) != self.inverted,
            HeaderTest::Range(start, end) => {
                let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<i64>().ok();
                let within =
                    |value: &[u8]| number(value).is_some_and(|n| (*start..*end).contains(&n));
                values.any(within) != self.inverted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::TextTest;

    fn head(values: &[&str]) -> RequestHead {
        let mut head = RequestHead::default();
        values.iter().for_each(|value| head.headers.append_name(b"x", value.as_bytes()));
        head.set_path(b"/a?q=1");
        head.set_authority(b"host:80");
        head
    }

    #[test]
    fn headers_are_tested_as_envoy_tests_them() {
        let text = |test| HeaderTest::Text(TextMatcher::new(test, false));
        let exact = || text(TextTest::Exact(b"a".as_slice().into()));
        let requests: [&[&str]; 7] = [&[], &[""], &["a"], &["b"], &["3"], &["5"], &["a", "b"]];
        for (test, inverted, missing_is_empty, expected) in [
            (HeaderTest::Present(true), false, false, "-YYYYYY"),
            (HeaderTest::Present(false), false, false, "Y------"),
            (HeaderTest::Present(true), true, false, "Y------"),
            (HeaderTest::Present(false), true, false, "-YYYYYY"),
            (HeaderTest::Present(true), false, true, "YYYYYYY"),
            (exact(), false, false, "--Y---Y"),
            (exact(), true, false, "-Y-YYY-"),
            (exact(), true, true, "YY-YYY-"),
            (HeaderTest::Range(1, 5), false, false, "----Y--"),
            (HeaderTest::Range(1, 5), true, false, "-YYY-YY"),
        ] {
            let matcher = HeaderMatcher::new("X", test, inverted, missing_is_empty);
            let found: String = requests
                .iter()
                .map(|values| if matcher.matches(&head(values)) { 'Y' } else { '-' })
                .collect();
            assert_eq!(found, expected, "{matcher:?}");
        }
    }

    #[test]
    fn what_stands_in_the_request_line_is_tested_by_its_http2_name() {
        let prefix = |text: &str| {
            HeaderTest::Text(TextMatcher::new(TextTest::Prefix(text.as_bytes().into()), false))
        };
        for (name, start) in
            [(":path", "/a?"), (":authority", "host:"), ("Host", "h"), (":scheme", "http")]
        {
            assert!(
                HeaderMatcher::new(name, prefix(start), false, false).matches(&head(&[])),
                "{name}"
            );
        }
    }
}
