//! Owns hosts that are named for a request: by a filter that keeps sessions, or by the request itself where its
//! cluster lets it.

use std::sync::Arc;

use understudy_actors::snapshot::Host;

use super::Exchange;
use crate::{filter::Filters, upstream::Current};

/// Who is named for a request.
pub(super) enum Named {
    /// Nobody: the balancer chooses.
    Nobody,
    /// The host in this position.
    Host(usize),
    /// One that cannot be had, and nobody else will do.
    Gone,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// The host that is named for this try.
    #[inline]
    pub(super) fn named(&self, current: &Current) -> Named {
        let headers = &current.upstream.balancing.override_headers;
        if self.filters.is_none() && headers.is_empty() {
            return Named::Nobody;
        }
        match self.named_by_filter(current) {
            Named::Nobody if !headers.is_empty() => self.named_by_headers(current, headers),
            named => named,
        }
    }

    /// A session is for the first try alone.
    ///
    /// Observed: Envoy 1.40.
    fn named_by_filter(&self, current: &Current) -> Named {
        let is_retry = self.tries.as_ref().is_some_and(|tries| tries.is_retry());
        let filters = self.filters.as_ref().filter(|_| !is_retry);
        let Some(wanted) = filters.and_then(Filters::wanted_host) else { return Named::Nobody };
        let may_be = |host: &Host| {
            let health = current.upstream.balancing.override_health;
            match (host.healthy(), host.is_degraded()) {
                (true, false) => health.healthy,
                (true, true) => health.degraded,
                (false, _) => health.unhealthy,
            }
        };
        let hosts = &current.snapshot.hosts;
        let host = current.host_at(&wanted.address);
        match host.filter(|at| hosts.get(*at).is_some_and(|host| may_be(host))) {
            Some(host) => Named::Host(host),
            None if wanted.strict => Named::Gone,
            None => Named::Nobody,
        }
    }

    /// Each try goes to the next of those that the cluster has.
    ///
    /// Source: `OverrideHost.override_host_sources`; observed: Envoy 1.40, whatever the host's health is.
    pub(super) fn named_by_headers(&self, current: &Current, headers: &[Vec<u8>]) -> Named {
        let request = &self.heads.request;
        let values = headers.iter().filter_map(|name| request.value(name));
        let names =
            values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let mut hosts = names.filter_map(|name| current.host_at(name));
        let tries = self.tries.as_ref().map_or(0, |tries| tries.count.saturating_sub(1));
        hosts.nth(tries as usize).map_or(Named::Nobody, Named::Host)
    }

    /// Tells filters which host the request goes to.
    #[inline]
    pub(super) fn tell_filters(&self, host: &Arc<Host>) {
        if let Some(filters) = &self.filters {
            filters.tell_host(host);
        }
    }
}
