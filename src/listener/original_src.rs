//! `envoy.filters.listener.original_src`: connections to hosts come from where the client's comes from.

use super::{Found, OriginalSrc, Verdict};

/// Notes who the client is as far as is known here: after a PROXY header, whom that names. Who comes by a path comes from
/// nowhere else.
pub(super) fn look(mark: u32, found: &mut Found) -> Verdict {
    if let Some(ip) = found.peer.ip() {
        found.proxied().source = Some(OriginalSrc { ip, mark });
    }
    Verdict::Continue
}
