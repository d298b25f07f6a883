//! Owns a cookie that clients are given.

use std::{fmt::Write as _, time::Duration};

/// `RouteAction.HashPolicy.Cookie`, `envoy.type.http.v3.Cookie`.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// `name`.
    pub name: String,
    /// `ttl`; zero is as long as the client's session lasts.
    pub ttl: Option<Duration>,
    /// `path`.
    pub path: String,
    /// `attributes`: names and values.
    pub attributes: Vec<(String, String)>,
}

// === impl Cookie ===

impl Cookie {
    /// The value of `set-cookie` that gives it this value.
    ///
    /// Observed: Envoy 1.40.
    pub fn line(&self, value: &str) -> Vec<u8> {
        let mut line = format!("{}=\"{value}\"", self.name);
        // Writing to a string cannot fail.
        if let Some(seconds) = self.ttl.map(|ttl| ttl.as_secs()).filter(|seconds| *seconds > 0) {
            let _ = write!(line, "; Max-Age={seconds}");
        }
        if !self.path.is_empty() {
            let _ = write!(line, "; Path={}", self.path);
        }
        for (name, value) in &self.attributes {
            let _ = match value.is_empty() {
                true => write!(line, "; {name}"),
                false => write!(line, "; {name}={value}"),
            };
        }
        line.push_str("; HttpOnly");
        line.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40.
    #[test]
    fn a_cookie_is_given_with_what_is_said_of_it() {
        let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (ttl_ms, path, attributes, expected) in [
            (
                Some(60_000),
                "/x",
                vec![attribute("SameSite", "Strict"), attribute("Secure", "")],
                "s=\"v\"; Max-Age=60; Path=/x; SameSite=Strict; Secure; HttpOnly",
            ),
            (Some(0), "", Vec::new(), "s=\"v\"; HttpOnly"),
            (Some(1500), "", Vec::new(), "s=\"v\"; Max-Age=1; HttpOnly"),
            (None, "", Vec::new(), "s=\"v\"; HttpOnly"),
        ] {
            let ttl = ttl_ms.map(Duration::from_millis);
            let cookie = Cookie { name: "s".to_owned(), ttl, path: path.to_owned(), attributes };
            assert_eq!(cookie.line("v"), expected.as_bytes());
        }
    }
}
