//! Owns what people ask of one cluster while it runs: to change its hosts, for a time or for good, and to ask
//! DNS at once.

use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Cluster,
    hosts::{self, Known},
};
use crate::{
    by_hand::ByHand,
    command::{EndpointChange, Term},
    dns_refresh::Refresh,
};

/// Change the hosts so; answered when it is in force, or with what is wrong.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct ChangeEndpoints {
    pub(crate) changes: Vec<EndpointChange>,
    pub(crate) term: Term,
}

/// This was changed by hand in the cluster that this one will take the place of.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Inherit(pub(crate) Arc<ByHand>);

/// Ask DNS now for this name, or for all; answered when DNS has, with how many names that were.
#[derive(Clone, Debug, Message)]
#[rtype(result = "usize")]
pub(crate) struct RefreshNames(pub(crate) Option<String>);

impl Cluster {
    /// Puts what was changed by hand in force.
    fn change(&mut self, by_hand: Arc<ByHand>, ctx: &mut Context<Self>) {
        self.discover_with(by_hand, ctx);
        self.end_when_due(ctx);
    }

    /// Waits for the next end of what was changed for a time; after a fall, anew. One wait too many changes
    /// nothing.
    pub(super) fn end_when_due(&self, ctx: &mut Context<Self>) {
        let Some(next) = self.seed.publisher.read().by_hand.next_end() else { return };
        ctx.run_later(next.saturating_duration_since(Instant::now()), |this, ctx| {
            let before = this.seed.publisher.read().by_hand.clone();
            let after = before.without_ended(Instant::now());
            if after != *before {
                let name = &this.seed.plan.name;
                tracing::info!(target: "admin", "the time is over for endpoints of {name:?} that were changed by hand");
                this.change(after.into(), ctx);
            }
        });
    }
}

impl Handler<ChangeEndpoints> for Cluster {
    type Result = Result<(), String>;

    fn handle(
        &mut self,
        ChangeEndpoints { changes, term }: ChangeEndpoints,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        let before = self.seed.publisher.read();
        let by_hand = {
            let seed = &self.seed;
            let (answers, assigned) = (seed.answers.borrow(), seed.assigned.borrow());
            let (plan, assigned, made) = (&seed.plan, assigned.as_deref(), &*seed.made.borrow());
            let known = Known { plan, answers: &answers, assigned, made, before: &before };
            before.by_hand.changed(&changes, term, |address| known.discovers(address))?
        };
        self.change(by_hand.into(), ctx);
        Ok(())
    }
}

impl Handler<Inherit> for Cluster {
    type Result = ();

    fn handle(&mut self, Inherit(by_hand): Inherit, ctx: &mut Context<Self>) {
        self.change(by_hand, ctx);
    }
}

impl Handler<RefreshNames> for Cluster {
    type Result = ResponseFuture<usize>;

    fn handle(
        &mut self,
        RefreshNames(wanted): RefreshNames,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let names = hosts::names(&self.seed.plan.discovery).iter().enumerate();
        let children = self.seed.children.borrow();
        let asked: Vec<_> = names
            .filter(|(_, name)| wanted.as_ref().is_none_or(|wanted| *wanted == name.name))
            .filter_map(|(at, _)| children.names.get(&at).map(|name| name.send(Refresh)))
            .collect();
        let count = asked.len();
        Box::pin(async move {
            join_all(asked).await;
            count
        })
    }
}
