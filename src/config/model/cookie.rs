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
        if let Some(ttl) = self.ttl.filter(|ttl| !ttl.is_zero()) {
            let _ = write!(line, "; Max-Age={}", ttl.as_secs());
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
