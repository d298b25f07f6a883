//! Owns what a route that redirects answers.

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    /// `https_redirect` or `scheme_redirect`; empty keeps the scheme.
    pub scheme: String,
    /// `host_redirect`; empty keeps the host.
    pub host: String,
    /// `port_redirect`; 0 keeps the port.
    pub port: u16,
    /// `path_redirect` (path and perhaps query), `prefix_rewrite`, or neither.
    pub path: RedirectPath,
    /// `strip_query`.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `RedirectAction.path_rewrite_specifier`.
#[derive(Debug)]
pub enum RedirectPath {
    /// The request's own.
    Keep,
    /// `path_redirect`.
    Replace(String),
    /// `prefix_rewrite`.
    Prefix(String),
}
