//! `envoy.filters.network.sni_cluster`: the host that is asked for (SNI) names the cluster that a TCP proxy carries to.

use std::sync::Arc;

use understudy_actors::stats::Registry;

use super::{Build, Decide, Filter, Kind, Verdict};
use crate::{
    config::Message,
    downstream::{Arrival, serve::Worker},
};

pub(super) static KIND: Kind =
    Kind { config: "envoy.extensions.filters.network.sni_cluster.v3.SniCluster", build };

#[derive(Debug)]
struct SniCluster;

fn build(_: &Message, _: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    Some(Arc::new(SniCluster))
}

// === impl SniCluster ===

impl Filter for SniCluster {
    fn run(self: Arc<Self>, _: &Registry) -> Box<dyn Decide> {
        Box::new(SniCluster)
    }
}

impl Decide for SniCluster {
    /// A client that asks for no host is carried to where the proxy says.
    fn on_connection(&self, _: &Worker, arrival: &mut Arrival) -> Verdict {
        arrival.cluster = arrival.asked_for().map(Into::into);
        Verdict::Continue
    }
}
