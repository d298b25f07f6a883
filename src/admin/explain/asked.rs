//! Owns the request that `/explain` is asked about.

use super::super::Ask;
use crate::{
    admission,
    codec::{Known, Method, RequestHead, Scheme},
    config::model::http::HttpConnectionManager,
    downstream::path_rules,
    path::{self, Outcome},
    route::{RouteTable, form_host},
};
use understudy_actors::runtime::Runtime;

/// Headers that are taken from the question.
const HEADERS_MAX: usize = 100;

/// The request, before anything was done with it.
pub(super) struct Asked {
    head: RequestHead,
}

// === impl Asked ===

impl Asked {
    /// Reads the question.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn of(ask: &Ask) -> Result<Self, String> {
        let mut head = RequestHead::default();
        let method = ask.param("method").filter(|method| !method.is_empty()).unwrap_or("GET");
        let known = || format!("method={method} is none that is served");
        head.method = Method::parse(method.as_bytes()).ok_or_else(known)?;
        let host = ask.param("host").unwrap_or_default();
        if host.is_empty() {
            return Err("host= is missing".to_owned());
        }
        head.set_authority(host.as_bytes());
        let path = ask.param("path").filter(|path| !path.is_empty()).unwrap_or("/");
        head.set_path(path.as_bytes());
        let scheme = ask.param("scheme").filter(|scheme| !scheme.is_empty()).unwrap_or("http");
        head.scheme = Scheme::parse(scheme.as_bytes());
        if head.scheme == Scheme::Unset {
            return Err(format!("scheme={scheme} is neither http nor https"));
        }
        for header in ask.all("header").into_iter().take(HEADERS_MAX) {
            let wrong = || format!("header={header} is not NAME:VALUE");
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if name.is_empty() {
                return Err(wrong());
            }
            head.headers.append_name(name.as_bytes(), value.as_bytes());
        }
        if !head.headers.has(Known::XForwardedProto) {
            head.headers.append(Known::XForwardedProto, head.scheme.as_str().as_bytes());
        }
        admission::check(&head).map_err(|why| format!("such a request is refused: {why:?}"))?;
        Ok(Self { head })
    }

    /// The request as the routes of a table see it; `port` is the listener's.
    ///
    /// # Errors
    ///
    /// What a request is answered whose path has not the one form of it.
    pub(super) fn request(
        &self,
        table: &RouteTable,
        manager: &HttpConnectionManager,
        runtime: &Runtime,
        port: Option<u16>,
    ) -> Result<RequestHead, String> {
        let mut head = self.head.clone();
        if let Some(rules) = path_rules(manager.paths, runtime) {
            let path = match path::apply(head.path(), &rules) {
                Outcome::Target(path) => path.into_owned(),
                Outcome::Redirect(path) => {
                    return Err(format!("307: to {}", String::from_utf8_lossy(&path)));
                }
                Outcome::Refused => return Err("400: the path has no normal form".to_owned()),
            };
            head.set_path(&path);
        }
        form_host(&mut head, manager.host_form, port);
        if !head.headers.has(Known::XEnvoyInternal) {
            let own = &table.config().internal_only_headers;
            own.iter().for_each(|name| head.headers.remove_name(name));
        }
        Ok(head)
    }
}
