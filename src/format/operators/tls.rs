//! Owns what is told of handshakes, with clients and with hosts.
//!
//! Observed: Envoy 1.40 for the form of each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Args, StreamInfo, Value};
use crate::tls::{CertificateInfo, NameKind, Peer, Session};

/// A handshake with a peer, of whichever side.
pub(super) type Handshake<'a> = Option<&'a Session>;

/// That with the client.
pub(super) fn down<'a>(info: &StreamInfo<'a>) -> Handshake<'a> {
    info.tls
}

/// That with the host.
pub(super) fn up<'a>(info: &StreamInfo<'a>) -> Handshake<'a> {
    info.upstream?.connection?.tls.as_deref()
}

/// The peer's certificate, and its chain.
pub(super) fn peer(handshake: Handshake<'_>) -> Option<&Peer> {
    handshake?.peer.as_ref()
}

/// What the peer's certificate says.
pub(super) fn theirs(handshake: Handshake<'_>) -> Option<&CertificateInfo> {
    peer(handshake)?.info()
}

/// What our certificate says.
pub(super) fn ours(handshake: Handshake<'_>) -> Option<&CertificateInfo> {
    handshake?.own()
}

/// A text that is at hand.
pub(super) fn text<'a, T>(of: Option<&'a T>, say: impl FnOnce(&'a T) -> &'a str) -> Value<'a> {
    Value::unless_empty(of.map_or("", say))
}

/// Texts with commas between them.
pub(super) fn list<'a>(texts: impl Iterator<Item = String>) -> Value<'a> {
    let texts = texts.collect::<Vec<_>>();
    if texts.is_empty() { Value::Nothing } else { Value::owned(texts.join(",")) }
}

/// A certificate's names of a kind.
pub(super) fn names<'a>(of: Option<&CertificateInfo>, kind: NameKind) -> Value<'a> {
    list(of.into_iter().flat_map(|certificate| certificate.names_of(kind)))
}

/// Something of each certificate of a peer's chain.
pub(super) fn chain<'a>(of: Option<&Peer>, say: fn(CertificateInfo) -> String) -> Value<'a> {
    list(of.into_iter().flat_map(Peer::infos).map(say))
}

/// Something of the certificate that has signed a peer's.
pub(super) fn issuer<'a>(of: Option<&Peer>, say: fn(CertificateInfo) -> String) -> Value<'a> {
    of.and_then(Peer::issuer).map_or(Value::Nothing, |issuer| Value::owned(say(issuer)))
}

/// A moment of a certificate's life.
pub(super) fn moment<'a>(
    args: &'a Args,
    of: Option<&CertificateInfo>,
    when: fn(&CertificateInfo) -> i64,
) -> Value<'a> {
    match of {
        Some(certificate) => args.time(at(when(certificate))),
        None => Value::Nothing,
    }
}

/// Why a client's handshake came to nothing. Observed: Envoy 1.40 writes no spaces here.
pub(super) fn downstream_failure<'a>(info: &StreamInfo<'a>) -> Value<'a> {
    match info.downstream_failure {
        "" => Value::Nothing,
        text => Value::owned(text.replace(' ', "_")),
    }
}

fn at(seconds: i64) -> SystemTime {
    let far = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(far) } else { UNIX_EPOCH.checked_add(far) };
    at.unwrap_or(UNIX_EPOCH)
}
