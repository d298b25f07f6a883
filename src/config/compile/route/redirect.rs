//! Owns compiling redirects.

use super::super::Compiler;
use crate::config::{
    Message,
    model::route::{Redirect, RedirectPath},
};

impl Compiler<'_> {
    /// `RedirectAction`
    pub(super) fn redirect(&mut self, redirect: &Message) -> Option<Redirect> {
        let text = |name: &str| redirect.text(name).unwrap_or_default().to_owned();
        let https = redirect.boolean("https_redirect").unwrap_or(false);
        let path = if let Some(path) = redirect.text("path_redirect") {
            RedirectPath::Replace(path.to_owned())
        } else if let Some(prefix) = redirect.text("prefix_rewrite") {
            RedirectPath::Prefix(prefix.to_owned())
        } else if let Some(rewrite) = redirect.message("regex_rewrite") {
            RedirectPath::Regex(self.substitution(rewrite)?)
        } else {
            RedirectPath::Keep
        };
        Some(Redirect {
            scheme: if https { "https".to_owned() } else { text("scheme_redirect") },
            host: text("host_redirect"),
            port: redirect
                .number("port_redirect")
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(0),
            keep_port: false,
            path,
            strip_query: redirect.boolean("strip_query").unwrap_or(false),
            status: match redirect.choice("response_code") {
                Some("FOUND") => 302,
                Some("SEE_OTHER") => 303,
                Some("TEMPORARY_REDIRECT") => 307,
                Some("PERMANENT_REDIRECT") => 308,
                _ => 301,
            },
        })
    }
}
