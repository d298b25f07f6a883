//! Owns network filters: what becomes of a connection that carries no HTTP, and who may have one at all. One file each.
//!
//! Those before the last of a chain decide about each new connection; the last one has it. `KINDS` lists the former.

mod connection_limit;
mod direct_response;
mod echo;
mod first_bytes;
mod gate;
mod greeting;
mod in_use;
mod line;
mod local_ratelimit;
mod overheard;
mod rbac;
mod sni_cluster;
mod splice;
mod tcp_proxy;
mod times;
mod tunnel;

use std::{any::Any, fmt, sync::Arc, time::Duration};

use understudy_actors::stats::Registry;

use crate::{
    access_log::ResponseFlag,
    config::{Message, model::runtime_flag::RuntimeFlag},
    downstream::{Arrival, serve::Worker},
    rbac::{EnforcementMode, Engine},
    token_bucket::TokenBucket,
};

pub use direct_response::DirectResponse;
pub use echo::Echo;
pub use gate::{Gate, Held};
pub use tcp_proxy::TcpProxy;

/// The filters there are. The list that runs them is the list that documents them.
pub static KINDS: &[&Kind] =
    &[&connection_limit::KIND, &local_ratelimit::KIND, &rbac::KIND, &sni_cluster::KIND];

/// One kind of filter.
pub struct Kind {
    /// The message of its configuration, by which it is selected.
    pub config: &'static str,
    /// Builds it; the configuration has passed its schema, and what is not read is refused by name. None where it has
    /// told an error.
    pub build: fn(&Message, &mut dyn Build) -> Option<Arc<dyn Filter>>,
}

/// What a filter that is being built is lent by its builder.
pub trait Build {
    /// `token_bucket`
    fn token_bucket(&mut self, of: &Message) -> TokenBucket;

    /// `runtime_enabled`
    fn runtime_enabled(&mut self, of: &Message) -> RuntimeFlag;

    /// What says who may, in force or not; none where nothing does.
    fn engine(&mut self, of: &Message, mode: EnforcementMode) -> Option<Engine>;
}

/// A filter's checked configuration, shared by all workers.
pub trait Filter: fmt::Debug + Send + Sync {
    /// Its side on one worker, with its stats, which are listed from then on.
    fn run(self: Arc<Self>, registry: &Registry) -> Box<dyn Decide>;
}

/// A filter on one worker.
pub trait Decide {
    /// A new connection is here.
    fn on_connection(&self, worker: &Worker, arrival: &mut Arrival) -> Verdict;

    /// The connection is turned away for what this filter has said.
    fn turned_away(&self, _: &Worker, _: &Arrival) {}
}

/// What a filter decides.
pub enum Verdict {
    /// The next one may decide.
    Continue,
    /// The same; this is held until the connection's end.
    Hold(Box<dyn Any>),
    /// It must go.
    TurnAway(Farewell),
}

/// How a connection is turned away.
#[derive(Clone, Debug, Default)]
pub struct Farewell {
    /// Not before it has said something: one that never does has asked for nothing.
    pub once_it_speaks: bool,
    /// How much later.
    pub delay: Duration,
    /// What the log says of it.
    pub details: String,
    /// How the log flags it.
    pub flag: Option<ResponseFlag>,
}
