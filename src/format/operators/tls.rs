//! Owns what is told of a client's handshake.

use super::{Args, StreamInfo, Value};

/// `%REQUESTED_SERVER_NAME%`
pub(super) fn requested_server_name<'a>(_: &'a Args, info: &StreamInfo<'a>) -> Value<'a> {
    Value::unless_empty(info.tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or_default())
}

/// `%DOWNSTREAM_TLS_VERSION%`
pub(super) fn version<'a>(_: &'a Args, info: &StreamInfo<'a>) -> Value<'a> {
    Value::unless_empty(info.tls.map_or("", |tls| tls.version))
}

/// `%DOWNSTREAM_TLS_CIPHER%`
pub(super) fn cipher<'a>(_: &'a Args, info: &StreamInfo<'a>) -> Value<'a> {
    Value::unless_empty(info.tls.map_or("", |tls| tls.cipher))
}

/// `%DOWNSTREAM_TLS_GROUP%`
pub(super) fn group<'a>(_: &'a Args, info: &StreamInfo<'a>) -> Value<'a> {
    Value::unless_empty(info.tls.map_or("", |tls| tls.group))
}
