//! Owns `envoy.config.route.v3.QueryParameterMatcher`.

use super::TextMatcher;

/// A test of a parameter of the query.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    name: Box<[u8]>,
    test: QueryTest,
}

/// What a parameter must be like.
#[derive(Clone, Debug)]
pub enum QueryTest {
    /// There, or not there.
    Present(bool),
    /// There, and its value is like that.
    Text(TextMatcher),
}

// === impl QueryMatcher ===

impl QueryMatcher {
    /// A matcher of the parameter called exactly so.
    pub fn new(name: &str, test: QueryTest) -> Self {
        Self { name: name.as_bytes().into(), test }
    }

    /// What it tests.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the path's query is so. The first parameter of the name counts; nothing is decoded.
    ///
    /// Observed: Envoy 1.40, a route for each kind of test and twenty queries.
    pub fn matches(&self, path: &[u8]) -> bool {
        let value = query_parameter(path, &self.name);
        match &self.test {
            QueryTest::Present(wanted) => value.is_some() == *wanted,
            QueryTest::Text(text) => value.is_some_and(|value| text.matches(value)),
        }
    }
}

/// The value of the first parameter of this name; one without `=` has an empty value.
pub fn query_parameter<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let at = path.iter().position(|byte| *byte == b'?')?;
    path[at + 1..].split(|byte| *byte == b'&').find_map(|parameter| {
        let rest = parameter.strip_prefix(name)?;
        match rest.first() {
            None => Some(rest),
            Some(b'=') => Some(&rest[1..]),
            Some(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::TextTest;

    #[test]
    fn the_first_parameter_of_the_name_counts_as_it_is_written() {
        let exact = |text: &str| {
            QueryTest::Text(TextMatcher::new(TextTest::Exact(text.as_bytes().into()), false))
        };
        let queries =
            ["", "?", "?k", "?k=", "?k=v", "?k=%76", "?%6b=v", "?K=v", "?a=1&k=v", "?k=x&k=v"];
        for (test, expected) in [
            (exact("v"), "----Y---Y-"),
            (exact(""), "--YY------"),
            (QueryTest::Present(true), "--YYYY--YY"),
            (QueryTest::Present(false), "YY----YY--"),
        ] {
            let matcher = QueryMatcher::new("k", test);
            let found: String = queries
                .iter()
                .map(|query| format!("/p{query}"))
                .map(|path| if matcher.matches(path.as_bytes()) { 'Y' } else { '-' })
                .collect();
            assert_eq!(found, expected, "{matcher:?}");
        }
        let matcher = QueryMatcher::new("k", exact("v"));
        for (path, expected) in [
            ("/?k=v&k=x", true),
            ("/?&k=v&", true),
            ("/?kk=v", false),
            ("/?k=v;x", false),
            ("/?k=v=v", false),
        ] {
            assert_eq!(matcher.matches(path.as_bytes()), expected, "{path}");
        }
    }
}
