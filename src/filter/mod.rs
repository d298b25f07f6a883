//! Owns HTTP filters: what one is, what it may decide, and which there are.
//!
//! A filter is its checked configuration, shared by all workers; each stream has a state of its own, made
//! once the request's route is known. Of its hooks only those are called that it declares, in the order
//! of the file for the request and against it for the response. The router is not among the filters: it
//! is where a request comes to when all of them have let it pass.

mod buffer;
mod health_check;
mod passing;
mod rbac;
mod request;
mod response;
mod running;
mod seen;
mod stateful_session;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use futures_util::future::LocalBoxFuture;
use understudy_actors::{
    plan::{Payload, Slot},
    stats::Registry,
};

use crate::{
    codec::{HeaderBlock, RequestHead, ResponseHead},
    config::Message,
    local_reply::LocalReply,
    matcher::HeaderMatcher,
    rbac::{EnforcementMode, Engine},
};

pub use request::FilteredRequest;
pub use response::FilteredResponse;
pub use running::Filters;
pub use seen::{Client, Lookout, Seen, Sight, WantedHost};

/// The filters there are. The list that runs them is the list that documents them.
pub static KINDS: &[&Kind] =
    &[&buffer::KIND, &health_check::KIND, &rbac::KIND, &stateful_session::KIND];

/// One kind of filter.
pub struct Kind {
    /// The message of its configuration, by which it is selected.
    pub config: &'static str,
    /// Builds it; the configuration has passed its schema, and what is not read is refused by name. None
    /// where it has told an error.
    pub build: fn(&Message, &mut dyn Build) -> Option<Arc<dyn Filter>>,
    /// Its configuration for a route, if it takes one.
    pub per_route: Option<PerRoute>,
}

/// What a route may say about a filter.
#[derive(Clone, Copy)]
pub struct PerRoute {
    /// The message.
    pub config: &'static str,
    /// What it becomes; none where it has told an error.
    pub build: fn(&Message, &mut dyn Build) -> Option<Payload>,
}

/// What a filter that is being built is lent by its builder.
pub trait Build {
    /// `Bootstrap.node.cluster`.
    fn node_cluster(&self) -> &str;

    /// Where [`Sight::cluster`] will find the cluster of this name.
    fn cluster(&self, name: &str) -> Slot;

    /// `envoy.config.route.v3.HeaderMatcher`; none where an error was told.
    fn header_matcher(&mut self, matcher: &Message) -> Option<HeaderMatcher>;

    /// What says who may, in force or not; none where nothing does.
    fn engine(&mut self, of: &Message, mode: EnforcementMode) -> Option<Engine>;

    /// Tells what is wrong with a field, and what to write.
    fn error(&mut self, message: &Message, field: &str, text: &str, hint: &str);
}

/// A filter of one chain.
pub trait Filter: fmt::Debug + Send + Sync {
    /// Which hooks its streams have.
    fn hooks(&self) -> Hooks;

    /// The state of one stream; `route` is the most specific configuration that its route has for this
    /// filter, as [`Kind::per_route`] made it.
    fn stream(&self, route: Option<&Payload>) -> Box<dyn StreamFilter>;

    /// Where it counts, if it does, by its connection manager's `stat_prefix`; called before its first stream.
    fn count_in(&self, _: &Registry, _stat_prefix: &str) {}
}

/// A filter's state for one stream.
pub trait StreamFilter {
    /// The request's head is here and its route is known, unless there is none.
    fn on_request_head(&mut self, _: &mut RequestHead, _: &Seen) -> Verdict {
        Verdict::Continue
    }

    /// The whole body is here, as [`Verdict::Hold`] or [`Verdict::Discard`] has asked for.
    fn on_request_held(&mut self, _: &mut RequestHead, _: &mut Vec<u8>, _: &Seen) -> Verdict {
        Verdict::Continue
    }

    /// A part of the body passes by.
    fn on_request_data(&mut self, _: &mut Vec<u8>) -> Verdict {
        Verdict::Continue
    }

    /// Trailers pass by.
    fn on_request_trailers(&mut self, _: &mut HeaderBlock) {}

    /// The response's head is here; a reply of our own has one too, but is not held back or replaced.
    fn on_response_head(&mut self, _: &mut ResponseHead, _: &Seen) -> Verdict {
        Verdict::Continue
    }

    /// The whole body is here, as [`Verdict::Hold`] has asked for.
    fn on_response_held(&mut self, _: &mut ResponseHead, _: &mut Vec<u8>, _: &Seen) -> Verdict {
        Verdict::Continue
    }

    /// A part of the body passes by.
    fn on_response_data(&mut self, _: &mut Vec<u8>) -> Verdict {
        Verdict::Continue
    }

    /// Trailers pass by.
    fn on_response_trailers(&mut self, _: &mut HeaderBlock) {}

    /// The exchange is over; 0 is no status.
    fn on_end(&mut self, _status: u16) {}
}

/// What a filter decides.
pub enum Verdict {
    /// Go on.
    Continue,
    /// Answer this instead. Where the response has begun already it is cut short.
    Reply(LocalReply),
    /// Wait, then do what comes of it. The exchange's timeouts go on meanwhile.
    Wait(LocalBoxFuture<'static, Verdict>),
    /// Hold the body until all of it is here, if it is no longer than this. Only after a head.
    Hold {
        /// Bytes at most; more is 413 for a request and 500 for a response.
        bytes_max: usize,
    },
    /// Read the body to its end and keep nothing of it, then show that nothing as held. Only after the
    /// request's head.
    Discard,
}

/// Hooks that a filter has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks(u8);

/// A filter in its place: which chain entry, and what routes know it by.
#[derive(Clone, Debug)]
pub struct Placed {
    /// `HttpFilter.name`, to which `typed_per_filter_config` refers.
    pub name: Arc<str>,
    /// The filter.
    pub filter: Arc<dyn Filter>,
    /// `HttpFilter.disabled`: it runs only where a route says something of it.
    pub disabled: bool,
}

/// What a route says about a filter.
#[derive(Clone, Debug)]
pub enum OfRoute {
    /// `FilterConfig` without a configuration: it runs as the chain has it.
    Enabled,
    /// `FilterConfig.disabled`: it does not run.
    Disabled,
    /// It runs with this configuration, as [`Kind::per_route`] made it.
    Config(Payload),
}

// === impl Hooks ===

impl Hooks {
    /// `on_request_head`, and `on_request_held` after it.
    pub const REQUEST_HEAD: Self = Self(1);
    /// `on_request_data`.
    pub const REQUEST_DATA: Self = Self(1 << 1);
    /// `on_request_trailers`.
    pub const REQUEST_TRAILERS: Self = Self(1 << 2);
    /// `on_response_head`, and `on_response_held` after it.
    pub const RESPONSE_HEAD: Self = Self(1 << 3);
    /// `on_response_data`.
    pub const RESPONSE_DATA: Self = Self(1 << 4);
    /// `on_response_trailers`.
    pub const RESPONSE_TRAILERS: Self = Self(1 << 5);
    /// `on_end`.
    pub const END: Self = Self(1 << 6);

    /// These and those.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this one is among them.
    pub const fn has(self, hook: Self) -> bool {
        self.0 & hook.0 != 0
    }
}
