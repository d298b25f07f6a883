//! Owns the filters of one stream while it runs.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use understudy_actors::snapshot::Host;

use super::{Client, Hooks, Lookout, OfRoute, Placed, Seen, StreamFilter, Verdict, WantedHost};
use crate::{
    codec::{RequestHead, ResponseHead},
    local_reply::LocalReply,
};

/// The filters of one stream, in the order of the file.
#[derive(Clone)]
pub struct Filters {
    pub(super) running: Rc<RefCell<Running>>,
}

/// What [`Filters`] shares between the stream's two directions. Borrowed for the length of one hook only.
pub(super) struct Running {
    pub(super) states: Vec<State>,
    /// What a filter answers in place of what was under way.
    reply: Option<LocalReply>,
    seen: Seen,
    lookout: Rc<Lookout>,
}

pub(super) struct State {
    pub(super) hooks: Hooks,
    pub(super) filter: Box<dyn StreamFilter>,
}

// === impl Filters ===

impl Filters {
    /// Begins a stream; `route` gives a filter's own configuration for the route, by its name. The client
    /// is `client`, and `ends` says that its request is a head alone.
    pub fn begin<'r>(
        chain: &[Placed],
        route: impl Fn(&str) -> Option<&'r OfRoute>,
        lookout: &Rc<Lookout>,
        client: Client,
        ends: bool,
    ) -> Self {
        let states = chain.iter().filter_map(|placed| {
            let own = match route(&placed.name) {
                None if placed.disabled => return None,
                Some(OfRoute::Disabled) => return None,
                None | Some(OfRoute::Enabled) => None,
                Some(OfRoute::Config(config)) => Some(config),
            };
            Some(State { hooks: placed.filter.hooks(), filter: placed.filter.stream(own) })
        });
        let (seen, lookout) = (Seen::new(client, ends, lookout.look()), lookout.clone());
        let running = Running { states: states.collect(), reply: None, seen, lookout };
        Self { running: Rc::new(RefCell::new(running)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.running.borrow().states.len()
    }

    /// Whether one of them has taken the request for a health check.
    pub fn is_health_check(&self) -> bool {
        self.running.borrow().seen.is_health_check()
    }

    /// The host that one of them wants the request to go to.
    pub fn wanted_host(&self) -> Option<WantedHost> {
        self.running.borrow().seen.wanted_host()
    }

    /// Tells which host the request goes to.
    pub fn tell_host(&self, host: &Arc<Host>) {
        self.running.borrow().seen.tell_host(host);
    }

    /// Shows the request's head to the filter in this place.
    pub fn request_head(&self, at: usize, head: &mut RequestHead) -> Verdict {
        self.call(at, Hooks::REQUEST_HEAD, |filter, seen| filter.on_request_head(head, seen))
    }

    /// Shows it the body that it has asked for.
    pub fn request_held(&self, at: usize, head: &mut RequestHead, body: &mut Vec<u8>) -> Verdict {
        self.call(at, Hooks::REQUEST_HEAD, |filter, seen| filter.on_request_held(head, body, seen))
    }

    /// Shows the response's head to the filter in this place.
    pub fn response_head(&self, at: usize, head: &mut ResponseHead) -> Verdict {
        self.call(at, Hooks::RESPONSE_HEAD, |filter, seen| filter.on_response_head(head, seen))
    }

    /// Shows it the body that it has asked for.
    pub fn response_held(&self, at: usize, head: &mut ResponseHead, body: &mut Vec<u8>) -> Verdict {
        self.call(at, Hooks::RESPONSE_HEAD, |filter, seen| {
            filter.on_response_held(head, body, seen)
        })
    }

    /// Shows the head of a reply of our own to all, against the order of the file.
    pub fn show_reply(&self, head: &mut ResponseHead) {
        for at in (0..self.count()).rev() {
            // It is the answer already: nothing can be decided about it.
            let _ = self.response_head(at, head);
        }
    }

    /// Tells all that the exchange is over.
    pub fn end(&self, status: u16) {
        for state in &mut self.running.borrow_mut().states {
            if state.hooks.has(Hooks::END) {
                state.filter.on_end(status);
            }
        }
    }

    /// Leaves a reply for the exchange, which finds it when the stream fails.
    pub(super) fn refuse(&self, reply: LocalReply) {
        self.running.borrow_mut().reply = Some(reply);
    }

    /// What a filter has answered in place of what was under way.
    pub fn take_reply(&self) -> Option<LocalReply> {
        self.running.borrow_mut().reply.take()
    }

    pub(super) fn call(
        &self,
        at: usize,
        hook: Hooks,
        call: impl FnOnce(&mut dyn StreamFilter, &Seen) -> Verdict,
    ) -> Verdict {
        let Running { states, seen, lookout, .. } = &mut *self.running.borrow_mut();
        match states.get_mut(at) {
            Some(state) if state.hooks.has(hook) => {
                seen.now = lookout.look();
                call(&mut *state.filter, seen)
            }
            _ => Verdict::Continue,
        }
    }
}
