//! Owns what people ask of clusters while they run: to change their hosts, and to ask DNS at once. A cluster that
//! will take the place of another is asked as well, so that nothing is lost when it does.

use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;

use super::Supervisor;
use crate::{
    cluster::{ChangeEndpoints, Inherit, RefreshNames},
    command::{Applied, EndpointChange, Refusal, Term},
};

/// How long DNS is waited for before a refresh is answered; lookups go on beyond it.
const REFRESH_WAIT: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn change_endpoints(
        &self,
        name: String,
        changes: Vec<EndpointChange>,
        term: Term,
    ) -> ResponseActFuture<Self, Applied> {
        let children = self.seed.children.borrow();
        let child = children.clusters.get(&name).cloned();
        let next = children.warming.get(&name).map(|next| next.cluster.clone());
        let changing = async move {
            let Some(child) = child else { return Applied::Refused(Refusal::NoCluster(name)) };
            match child.cluster.send(ChangeEndpoints { changes, term }).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Applied::Refused(Refusal::Endpoints(why)),
                Err(error) => return Applied::Refused(Refusal::Unavailable(error.to_string())),
            }
            if let Some(next) = next {
                next.do_send(Inherit(child.published.read().by_hand.clone()));
            }
            Applied::Done
        };
        Box::pin(changing.into_actor(self))
    }

    pub(super) fn refresh_dns(&self, name: Option<String>) -> ResponseActFuture<Self, Applied> {
        let children = self.seed.children.borrow();
        let clusters: Vec<_> =
            children.clusters.values().map(|child| child.cluster.clone()).collect();
        let refreshing = async move {
            let asked = clusters.iter().map(|cluster| cluster.send(RefreshNames(name.clone())));
            let answered = tokio::time::timeout(REFRESH_WAIT, join_all(asked)).await;
            // Who has not answered in time asks all the same.
            let asked = answered.map_or(1, |counts| counts.into_iter().flatten().sum());
            match name {
                Some(name) if asked == 0 => Applied::Refused(Refusal::NoName(name)),
                _ => Applied::Done,
            }
        };
        Box::pin(refreshing.into_actor(self))
    }
}
