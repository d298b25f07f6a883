//! Owns a worker's connections to a host that says in the handshake what it speaks (ALPN).
//!
//! Source: `HttpProtocolOptions.auto_config`.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Semaphore;
use understudy_actors::stats::ClusterStat;

use super::{HostPool, Http1Pool, Http2Pool, Pending, PoolError, Target};
use crate::{codec::Version, tls::Speaks, upstream::connect::connect};

/// The pools of both protocols, and which of them the host's handshake chose.
pub struct AutoPool {
    http1: Rc<HostPool>,
    http2: Rc<HostPool>,
    agreed: Cell<Option<Version>>,
    /// One asks, and the others wait for what it hears.
    asking: Semaphore,
}

// === impl AutoPool ===

impl AutoPool {
    pub(super) fn new(http1: Rc<Http1Pool>, http2: Rc<Http2Pool>) -> Self {
        Self {
            http1: Rc::new(HostPool::Http1(http1)),
            http2: Rc::new(HostPool::Http2(http2)),
            agreed: Cell::new(None),
            asking: Semaphore::new(1),
        }
    }

    /// The pool of the protocol that is spoken; opens a connection to hear it, and keeps that there.
    ///
    /// # Errors
    ///
    /// [`PoolError`], counted.
    pub async fn settle(&self) -> Result<Rc<HostPool>, PoolError> {
        if let Some(settled) = self.settled() {
            return Ok(settled);
        }
        let target = self.target();
        let _pending = Pending::begin(target)?;
        // It is never closed: an error would be our own mistake, and asking twice harms nobody.
        let _asking = self.asking.acquire().await.ok();
        if let Some(settled) = self.settled() {
            return Ok(settled);
        }
        let (stream, life) = connect(target, Speaks::Either).await?;
        let stats = target.shared.stats.lane(target.worker);
        let http2 = stream.agreed().as_deref() == Some(b"h2");
        match (&*self.http1, &*self.http2) {
            (_, HostPool::Http2(pool)) if http2 => {
                stats.inc(ClusterStat::UpstreamCxHttp2Total);
                pool.adopt(stream, life).await?;
            }
            (HostPool::Http1(pool), _) => {
                stats.inc(ClusterStat::UpstreamCxHttp1Total);
                pool.adopt(stream, life);
            }
            _ => {}
        }
        self.agreed.set(Some(if http2 { Version::Http2 } else { Version::Http11 }));
        self.settled().ok_or(PoolError::Terminated)
    }

    /// The pool of the protocol that is spoken, once that was heard.
    pub(super) fn settled(&self) -> Option<Rc<HostPool>> {
        self.agreed.get().map(|version| match version {
            Version::Http2 => self.http2.clone(),
            _ => self.http1.clone(),
        })
    }

    /// Whose pool this is.
    pub fn target(&self) -> &Target {
        self.http1.target()
    }

    /// Does something with both.
    pub(super) fn each(&self, what: impl Fn(&HostPool)) {
        what(&self.http1);
        what(&self.http2);
        // A host without connections may be another the next time.
        if self.http1.is_unused() && self.http2.is_unused() {
            self.agreed.set(None);
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        let held = |pool: &Rc<HostPool>| Rc::strong_count(pool) > 1;
        self.http1.is_unused() && self.http2.is_unused() && !held(&self.http1) && !held(&self.http2)
    }
}
