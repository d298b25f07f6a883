//! Owns counting what is asked of a host, from its beginning to its end; the end is its drop.

use std::rc::Rc;

use understudy_actors::stats::{ClusterStat, HostStat};

use crate::upstream::{
    connect::Life,
    pool::{HostPool, Target},
};

/// A connection to the host that is in use, counted until dropped.
pub(super) struct InUse {
    requested: Requested,
    pub(super) life: Life,
    pub(super) ended_by_host: bool,
}

/// Something that is asked of a host, counted until dropped.
pub(super) struct Requested {
    pool: Rc<HostPool>,
}

// === impl InUse ===

impl InUse {
    pub(super) fn begin(pool: Rc<HostPool>, life: Life) -> Self {
        let requested = Requested::begin(pool);
        life.carry_request();
        Self { requested, life, ended_by_host: false }
    }

    pub(super) fn target(&self) -> &Target {
        self.requested.pool.target()
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // The connection is the request: it never ends without it.
        self.life.cut_with_request();
        if self.ended_by_host {
            self.life.closed_by_host();
        }
    }
}

// === impl Requested ===

impl Requested {
    pub(super) fn begin(pool: Rc<HostPool>) -> Self {
        let target = pool.target();
        let stats = target.shared.stats.lane(target.worker);
        stats.inc(ClusterStat::UpstreamRqTotal);
        stats.inc(ClusterStat::UpstreamRqActive);
        let host = target.host.stats.lane(target.worker);
        host.inc(HostStat::RqTotal);
        host.inc(HostStat::RqActive);
        Self { pool }
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        let target = self.pool.target();
        target.shared.stats.lane(target.worker).dec(ClusterStat::UpstreamRqActive);
        target.host.stats.lane(target.worker).dec(HostStat::RqActive);
    }
}
