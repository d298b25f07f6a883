//! Owns whether a request may become something else than HTTP: an upgrade, or a CONNECT.

use understudy_actors::stats::HttpStat;

use super::{Exchange, failure::Failure};
use crate::{
    codec::{Known, Method, Switch},
    config::model::{
        route::{Forward, RouteAction},
        upgrade::{CONNECT, RouteUpgrade, Upgrade},
    },
    filter::Placed,
    local_reply::LocalReply,
    route::Found,
};

/// Whether an exchange may become something else than HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Switching {
    /// It may not.
    #[default]
    No,
    /// It may, past the connection manager's filters.
    Yes,
    /// It may, past the filters of the upgrade in this place of the configuration.
    Past(u16),
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Lets the request become what it wants if the route or the connection manager says so; the route
    /// has the last word. Where no route is, that is the better answer.
    ///
    /// Observed: Envoy 1.40, also that what may become something else is counted before it does.
    #[cold]
    pub(super) fn admit_switch(&mut self, found: Option<Found<'_>>) -> Result<(), Failure> {
        let request = &self.heads.request;
        let name = match request.switch {
            Switch::Nothing => return Ok(()),
            Switch::Connect => CONNECT.as_bytes(),
            Switch::Upgrade => request.headers.get(Known::Upgrade).unwrap_or_default(),
        };
        let manager = self.manager;
        let is_named = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let mut ours = manager.config.upgrades.iter().enumerate();
        let ours = ours.find(|(_, upgrade)| is_named(&upgrade.name));
        let route = found.and_then(|found| match &found.route.action {
            RouteAction::Forward(forward) => {
                forward.upgrades.iter().find(|upgrade| is_named(&upgrade.name))
            }
            RouteAction::Redirect(_) | RouteAction::Direct(_) => None,
        });
        if !is_enabled(route, ours.map(|(_, upgrade)| upgrade)) {
            return match found {
                Some(_) => Err(Failure::reply(LocalReply::upgrade_failed())),
                None => Ok(()),
            };
        }
        // One that is redirected here was admitted before.
        if self.heads.switching == Switching::No {
            let stats = manager.stats();
            stats.inc(HttpStat::DownstreamCxUpgradesTotal);
            stats.inc(HttpStat::DownstreamCxUpgradesActive);
        }
        self.heads.switching = match ours {
            Some((at, Upgrade { filters: Some(_), .. })) => {
                u16::try_from(at).map_or(Switching::Yes, Switching::Past)
            }
            _ => Switching::Yes,
        };
        Ok(())
    }

    /// Whether the route ends tunnels here, and this request asks for one: its host gets the payload.
    pub(super) fn ends_tunnel(&self, route: &Forward) -> bool {
        if route.upgrades.is_empty() {
            return false;
        }
        let named = |upgrade: &&RouteUpgrade| upgrade.name.eq_ignore_ascii_case(CONNECT);
        let connect = route.upgrades.iter().find(named).and_then(|upgrade| upgrade.connect);
        let request = &self.heads.request;
        match connect {
            Some(_) if request.switch == Switch::Connect => true,
            Some(connect) => connect.allow_post && request.method == Method::Post,
            None => false,
        }
    }

    /// The filters that the request is for: the connection manager's, or an upgrade's own.
    pub(super) fn chain(&self) -> &[Placed] {
        let config = &self.manager.config;
        let Switching::Past(at) = self.heads.switching else { return &config.filters };
        let own = config.upgrades.get(usize::from(at));
        own.and_then(|upgrade| upgrade.filters.as_ref()).unwrap_or(&config.filters)
    }
}

fn is_enabled(route: Option<&RouteUpgrade>, ours: Option<&Upgrade>) -> bool {
    match (route, ours) {
        (Some(route), _) => route.enabled,
        (None, Some(ours)) => ours.enabled,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_has_the_last_word_and_nothing_is_enabled_unasked() {
        let route = |enabled| RouteUpgrade { name: "x".to_owned(), enabled, connect: None };
        let ours = |enabled| Upgrade {
            name: "x".to_owned(),
            enabled,
            filters: None,
            router: Default::default(),
        };
        for (route, ours, enabled) in [
            (None, None, false),
            (None, Some(ours(true)), true),
            (None, Some(ours(false)), false),
            (Some(route(true)), None, true),
            (Some(route(true)), Some(ours(false)), true),
            (Some(route(false)), Some(ours(true)), false),
        ] {
            assert_eq!(is_enabled(route.as_ref(), ours.as_ref()), enabled, "{route:?}, {ours:?}");
        }
    }
}
