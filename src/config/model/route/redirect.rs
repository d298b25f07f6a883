//! Owns what a route that redirects answers.

use super::Substitution;

/// `RedirectAction`.
#[derive(Debug, Default)]
pub struct Redirect {
    /// `https_redirect` or `scheme_redirect`; empty keeps the scheme.
    pub scheme: String,
    /// `host_redirect`; empty keeps the host.
    pub host: String,
    /// `port_redirect`; 0 keeps the port.
    pub port: u16,
    /// The port stays even where it is the usual one of the scheme that is left.
    pub keep_port: bool,
    /// `path_rewrite_specifier`.
    pub path: RedirectPath,
    /// `strip_query`.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `RedirectAction.path_rewrite_specifier`.
#[derive(Debug, Default)]
pub enum RedirectPath {
    /// The request's own.
    #[default]
    Keep,
    /// `path_redirect`: path and perhaps query.
    Replace(String),
    /// `prefix_rewrite`.
    Prefix(String),
    /// `regex_rewrite`.
    Regex(Substitution),
}
