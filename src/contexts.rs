//! Owns which TLS contexts are in force, and the gauges of when their certificates end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use understudy_actors::{
    plan::Plan,
    stats::{CertificateStat, Group, Registry, Scope, ServerStat},
};

use crate::{
    config::model::{cluster::Upstream, listener::FilterChains},
    tls::{Certificate, Secret, Validation},
};

const DAY: i64 = 24 * 60 * 60;

/// What certificates and authorities without a name are called. Observed: Envoy 1.40.
const UNNAMED: [&str; 2] = ["unnamed_cert_e3b0c442", "unnamed_ca_cert_e3b0c442"];

/// What the authorities are called of who trusts none, which never end. Observed: Envoy 1.40.
const NOBODY: &str = "unnamed_ca_cert";

/// A TLS context of a listener or of a cluster.
pub struct Context {
    /// Whose it is.
    pub scope: Scope,
    /// What it shows.
    pub certificates: Vec<Secret<Certificate>>,
    /// Whom it trusts.
    pub validation: Option<Secret<Validation>>,
}

/// The gauges.
#[derive(Default)]
pub struct Gauges {
    told: Mutex<Told>,
}

/// What was told last; gauges are kept while what they tell of is in force.
#[derive(Default)]
struct Told {
    kept: BTreeMap<String, Arc<Group<CertificateStat>>>,
    /// When the first certificate ends.
    first: Option<i64>,
    /// When the first answer of an authority's does.
    first_answer: Option<i64>,
    /// A secret may be another without another plan.
    changes: bool,
}

/// The contexts of a plan.
pub fn contexts(plan: &Plan) -> Vec<Context> {
    let mut all = Vec::new();
    for listener in &plan.listeners {
        let Some(chains) = listener.chains.downcast_ref::<FilterChains>() else { continue };
        all.extend(chains.all().filter_map(|chain| chain.tls.as_ref()).map(|tls| Context {
            scope: Scope::listener(&listener.stat_prefix),
            certificates: tls.certificates.clone(),
            validation: tls.validation.clone(),
        }));
    }
    for cluster in &plan.clusters {
        let Some(upstream) = cluster.upstream.downcast_ref::<Upstream>() else { continue };
        all.extend(upstream.contexts().map(|tls| Context {
            scope: Scope::cluster(&cluster.stat_name),
            certificates: tls.settings.certificates.clone(),
            validation: tls.settings.validation.clone(),
        }));
    }
    all
}

// === impl Context ===

impl Context {
    /// Whether all that it needs has been said.
    pub fn is_ready(&self) -> bool {
        self.certificates.iter().all(|one| one.read().is_some())
            && self.validation.as_ref().is_none_or(|trusted| trusted.read().is_some())
    }

    /// Whether discovery may change what it shows or whom it trusts.
    fn changes(&self) -> bool {
        let shown = self.certificates.iter().any(|one| one.as_fixed().is_none());
        shown || self.validation.as_ref().is_some_and(|trusted| trusted.as_fixed().is_none())
    }

    /// When the answers of authorities end that go with its certificates.
    fn answers_end(&self) -> impl Iterator<Item = i64> {
        let shown = self.certificates.iter().filter_map(Secret::read);
        shown.filter_map(|own| own.staple.as_ref()?.response.next_update)
    }

    /// When what has this name ends: a certificate, or the first of authorities.
    fn ends(&self) -> impl Iterator<Item = (String, i64)> {
        let [unnamed, unnamed_authority] = UNNAMED;
        let called = |name: &str, unnamed: &str| match name {
            "" => unnamed.to_owned(),
            name => name.to_owned(),
        };
        let shown = self.certificates.iter().filter_map(Secret::read);
        let shown =
            shown.filter_map(move |own| Some((called(&own.name, unnamed), own.leaf()?.not_after)));
        let trusted = self.validation.iter().filter_map(Secret::read);
        let trusted = trusted.map(move |trusted| {
            let ends = trusted.authorities.iter().map(|authority| authority.not_after).min();
            match (ends, trusted.name.as_str()) {
                (None, "") => (NOBODY.to_owned(), i64::MAX),
                (ends, name) => (called(name, unnamed_authority), ends.unwrap_or(i64::MAX)),
            }
        });
        shown.chain(trusted)
    }
}

// === impl Gauges ===

impl Gauges {
    /// Tells when the certificates of a plan end.
    pub fn tell(&self, plan: &Plan, registry: &Registry) {
        let mut told = Told::default();
        for context in contexts(plan) {
            told.changes |= context.changes();
            let answers = told.first_answer.into_iter().chain(context.answers_end());
            told.first_answer = answers.min();
            for (name, ends) in context.ends() {
                let scope = context.scope.certificate(&name);
                let prefix = scope.prefix.clone();
                let gauges = registry.group::<CertificateStat>(scope);
                let seconds = u64::try_from(ends).unwrap_or(0);
                gauges.set(CertificateStat::ExpirationUnixTimeSeconds, seconds);
                told.kept.insert(prefix, gauges);
                told.first = Some(told.first.map_or(ends, |first| first.min(ends)));
            }
        }
        told.count_days(registry);
        *self.told.lock() = told;
    }

    /// The same of a plan that was told of, a while later.
    pub fn tell_again(&self, plan: &Plan, registry: &Registry) {
        let changes = self.told.lock().changes;
        match changes {
            true => self.tell(plan, registry),
            false => self.told.lock().count_days(registry),
        }
    }
}

// === impl Told ===

impl Told {
    fn count_days(&self, registry: &Registry) {
        // Envoy's word for "there is no certificate".
        let none = u64::from(u32::MAX);
        let days = self.first.map_or(none, |ends| days_until(ends, SystemTime::now()));
        let server = registry.group::<ServerStat>(Scope::plain("server."));
        server.set(ServerStat::DaysUntilFirstCertExpiring, days);
        let seconds = self.first_answer.map_or(0, |ends| seconds_until(ends, SystemTime::now()));
        let left = u64::try_from(seconds).unwrap_or(0);
        server.set(ServerStat::SecondsUntilFirstOcspResponseExpiring, left);
    }
}

/// Whole days from now to a moment of Unix time; 0 once it has passed.
pub fn days_until(ends: i64, now: SystemTime) -> u64 {
    u64::try_from(seconds_until(ends, now) / DAY).unwrap_or(0)
}

fn seconds_until(ends: i64, now: SystemTime) -> i64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    ends.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_whole_and_none_are_left_of_what_has_ended() {
        let now = UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        for (ends, days) in [(12 * DAY, 2), (12 * DAY - 1, 1), (10 * DAY, 0), (0, 0), (-5, 0)] {
            assert_eq!(days_until(ends, now), days, "{ends}");
        }
    }
}
