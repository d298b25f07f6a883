//! Owns `x-forwarded-client-cert`: what a client's certificate says, for those behind us.
//!
//! Observed: Envoy 1.40 for the order of its parts, their marks, and what is left out.

use std::fmt::Write as _;

use crate::{
    codec::{Known, RequestHead},
    config::model::client::{ClientCertificate, ForwardClientCert},
    downstream::exchange::Peer,
    tls::{self, NameKind, Session},
};

/// Forwards what was said of a client's certificate, and says what ours has shown, as far as that is asked for.
pub(super) fn client_certificate(head: &mut RequestHead, asked: &ClientCertificate, peer: &Peer) {
    use ForwardClientCert as F;
    let mode = asked.forward;
    if mode == F::AlwaysForwardOnly {
        return;
    }
    let shown = peer.tls.as_deref().and_then(|session| Some((session, session.peer.as_ref()?)));
    let Some((session, certificate)) = shown.filter(|_| mode != F::Sanitize) else {
        return head.headers.remove(Known::XForwardedClientCert);
    };
    if mode == F::ForwardOnly {
        return;
    }
    let said = certificate.forwarded(|| element(asked, session, certificate)).as_bytes();
    match head.headers.get(Known::XForwardedClientCert) {
        Some(before) if mode == F::AppendForward && !before.is_empty() => {
            head.headers.append_to_value(Known::XForwardedClientCert, b",", said);
        }
        _ => head.headers.set(Known::XForwardedClientCert, said),
    }
}

/// What is said of one certificate.
fn element(asked: &ClientCertificate, session: &Session, certificate: &tls::Peer) -> String {
    let mut out = String::new();
    let mut part = |name: &str, value: &str, quote: &str| {
        let mark = if out.is_empty() { "" } else { ";" };
        let _ = write!(out, "{mark}{name}={quote}{value}{quote}");
    };
    for uri in session.own().into_iter().flat_map(|own| own.names_of(NameKind::Uri)) {
        part("By", &uri, "");
    }
    let Some(info) = certificate.info() else { return out };
    part("Hash", &info.sha256, "");
    if asked.cert {
        part("Cert", certificate.escaped_pem(), "\"");
    }
    if asked.chain {
        part("Chain", &certificate.escaped_chain(), "\"");
    }
    if asked.subject {
        part("Subject", &info.subject, "\"");
    }
    if asked.uri {
        let mut uris = info.names_of(NameKind::Uri).peekable();
        if uris.peek().is_none() {
            part("URI", "", "");
        }
        uris.for_each(|uri| part("URI", &uri, ""));
    }
    if asked.dns {
        info.names_of(NameKind::Dns).for_each(|name| part("DNS", &name, ""));
    }
    out
}
