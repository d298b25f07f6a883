//! Owns writing what is held to a host's socket, and counting it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use understudy_actors::stats::ClusterStat;

use super::pool::Target;
use crate::{stream::BodyError, transport::WriteHalf, worker::Buffer};

/// Writes all that is held; the buffer goes back when it is empty.
///
/// # Errors
///
/// [`BodyError::Gone`]: the host takes no more.
#[inline]
pub(super) fn poll_send(
    cx: &mut Context<'_>,
    socket: &mut WriteHalf<'_>,
    held: &mut Option<Buffer>,
    target: &Target,
) -> Poll<Result<(), BodyError>> {
    let Some(out) = held else { return Poll::Ready(Ok(())) };
    let stats = target.shared.stats.lane(target.worker);
    while !out.is_empty() {
        match ready!(Pin::new(&mut *socket).poll_write(cx, out)) {
            Ok(count) if count > 0 => {
                stats.add(ClusterStat::UpstreamCxTxBytesTotal, count as u64);
                out.consume(count);
            }
            _ => return Poll::Ready(Err(BodyError::Gone)),
        }
    }
    // What TLS has encrypted may not have gone out yet.
    ready!(Pin::new(&mut *socket).poll_flush(cx)).map_err(|_| BodyError::Gone)?;
    *held = None;
    Poll::Ready(Ok(()))
}
