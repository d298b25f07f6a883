//! Owns `envoy.config.route.v3.HeaderMatcher`.

use super::TextMatcher;
use crate::codec::{Known, RequestHead, ResponseHead};

/// A test of a request's header.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    name: Name,
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
enum Name {
    Path,
    Method,
    Authority,
    Scheme,
    Header(Box<[u8]>),
}

// === impl HeaderMatcher ===

impl HeaderMatcher {
    /// A matcher of the header called so, in any case.
    pub fn new(name: &str, test: HeaderTest, inverted: bool, missing_is_empty: bool) -> Self {
        let name = match name.to_ascii_lowercase().as_str() {
            ":path" => Name::Path,
            ":method" => Name::Method,
            ":authority" | "host" => Name::Authority,
            ":scheme" => Name::Scheme,
            lower => Name::Header(lower.as_bytes().into()),
        };
        Self { name, test, inverted, missing_is_empty }
    }

    /// What it tests, in lower case.
    pub fn name(&self) -> &[u8] {
        match &self.name {
            Name::Path => b":path",
            Name::Method => b":method",
            Name::Authority => b":authority",
            Name::Scheme => b":scheme",
            Name::Header(name) => name,
        }
    }

    /// Whether the request has such a header. A header that is missing passes no test but that of not being
    /// there, be the test inverted or not.
    ///
    /// Observed: Envoy 1.40, a route for each kind of `HeaderMatcher` and requests with none, one and two values.
    pub fn matches(&self, head: &RequestHead) -> bool {
        match &self.name {
            Name::Path => self.passes([head.path()].into_iter()),
            Name::Method => self.passes([head.method.as_str().as_bytes()].into_iter()),
            Name::Authority => {
                self.passes(head.has_authority().then(|| head.authority()).into_iter())
            }
            Name::Scheme => {
                let scheme = head.headers.get(Known::XForwardedProto);
                self.passes([scheme.unwrap_or(b"http")].into_iter())
            }
            Name::Header(name) => self.passes(head.headers.get_all_named(name)),
        }
    }

    /// The same of a response, which has no path, method, authority or scheme.
    pub fn matches_response(&self, head: &ResponseHead) -> bool {
        match &self.name {
            Name::Header(name) if &**name == b":status" => {
                self.passes([itoa::Buffer::new().format(head.status).as_bytes()].into_iter())
            }
            Name::Header(name) => self.passes(head.headers.get_all_named(name)),
            Name::Path | Name::Method | Name::Authority | Name::Scheme => {
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
