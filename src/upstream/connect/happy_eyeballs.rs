//! Owns connecting to a host with several addresses: the next one is tried beside those under way when it takes
//! too long, or at once when one fails; the first that is open is taken.
//!
//! Source: RFC 8305, section 5; Envoy's `HappyEyeballsConnectionProvider` for what is counted.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};
use understudy_actors::{
    address::Address,
    stats::{ClusterStat, HostStat},
};

use super::Life;
use crate::upstream::{
    pool::Target,
    socket::{self, SocketError},
};

/// How long a connection may take before another is tried beside it. Observed: Envoy 1.40.
const ATTEMPT_DELAY: Duration = Duration::from_millis(300);

type Connecting = Pin<Box<dyn Future<Output = Result<TcpStream, SocketError>>>>;

/// Connections under way to the addresses of one host.
struct Race<'a> {
    target: &'a Target,
    life: &'a Life,
    left: std::slice::Iter<'a, SocketAddr>,
    under_way: Vec<(SocketAddr, Connecting)>,
    /// When the next address is tried; none where none is left.
    next: Option<Pin<Box<Sleep>>>,
    begun: usize,
}

/// Connects to whichever address of the host is open first; notes which one that is.
///
/// # Errors
///
/// That of the address which failed last, when all have.
pub(super) fn connect<'a>(
    target: &'a Target,
    life: &'a Life,
) -> Pin<Box<dyn Future<Output = Result<TcpStream, SocketError>> + 'a>> {
    let left = target.host.attempts.iter();
    let mut race = Race { target, life, left, under_way: Vec::new(), next: None, begun: 0 };
    Box::pin(poll_fn(move |cx| race.poll(cx)))
}

// === impl Race ===

impl Race<'_> {
    /// Tries the next address, if there is one. Observed: Envoy 1.40 counts each further one as a connection.
    fn begin(&mut self) -> bool {
        let Some(address) = self.left.next() else {
            self.next = None;
            return false;
        };
        if self.begun > 0 {
            let Target { shared, host, worker, .. } = self.target;
            shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxTotal);
            host.stats.lane(*worker).inc(HostStat::CxTotal);
        }
        self.begun += 1;
        let (address, upstream) = (*address, self.target.upstream.clone());
        let source = self.target.sharing.source;
        let connecting =
            async move { socket::connect(address.into(), &upstream.sockets, source).await };
        self.under_way.push((address, Box::pin(connecting)));
        let more = !self.left.as_slice().is_empty();
        self.next = more.then(|| Box::pin(sleep(ATTEMPT_DELAY)));
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<TcpStream, SocketError>> {
        if self.begun == 0 && !self.begin() {
            let error = io::Error::from(io::ErrorKind::AddrNotAvailable);
            return Poll::Ready(Err(error.into()));
        }
        loop {
            let mut failed = None;
            for (at, (address, connecting)) in self.under_way.iter_mut().enumerate() {
                match connecting.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => {
                        self.life.remote.set(Address::Ip(*address));
                        return Poll::Ready(Ok(stream));
                    }
                    Poll::Ready(Err(error)) => {
                        failed = Some((at, error));
                        break;
                    }
                    Poll::Pending => {}
                }
            }
            if let Some((at, error)) = failed {
                drop(self.under_way.remove(at));
                if !self.begin() && self.under_way.is_empty() {
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            match self.next.as_mut().map(|next| next.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    self.begin();
                }
                _ => return Poll::Pending,
            }
        }
    }
}
