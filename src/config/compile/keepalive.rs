//! Owns compiling `connection_keepalive` of HTTP/2.

use crate::config::{Message, model::keepalive::Keepalive};

/// `Http2ProtocolOptions.connection_keepalive`; none where it never asks.
pub(super) fn keepalive(options: &Message) -> Option<Keepalive> {
    let settings = options.message("connection_keepalive")?;
    let jitter = settings.message("interval_jitter");
    let jitter = jitter.map_or(15.0, |percent| percent.double("value").unwrap_or_default());
    let keepalive = Keepalive {
        interval: settings.duration("interval"),
        interval_jitter_percent: jitter as u32,
        timeout: settings.duration("timeout")?,
        idle_interval: settings.duration("connection_idle_interval"),
    };
    (keepalive.interval.is_some() || keepalive.idle_interval.is_some()).then_some(keepalive)
}
