//! Owns where the secrets that discovery brings are published: who compiles a context finds its place here, a handshake reads
//! what stands there at that moment.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    plan::Payload,
    published::{Published, Publisher},
    resources::{ConfigSource, Kind, ResourcePlan, Resources, Secret, Subscription, Topic},
};

/// A place for each secret that anybody has asked for, kept for the life of the process: what a reload brings back
/// stands where it stood.
#[derive(Debug, Default)]
pub struct Secrets {
    places: Mutex<HashMap<(ConfigSource, String), Place>>,
}

/// None until its source has said it.
type Place = Publisher<Option<Payload>>;

// === impl Secrets ===

impl Secrets {
    /// Where this secret stands; none until its source has said it.
    pub fn of(&self, source: &ConfigSource, name: &str) -> Published<Option<Payload>> {
        let mut places = self.places.lock();
        let place = places.entry((source.clone(), name.to_owned()));
        place.or_insert_with(|| Publisher::new(None)).subscribe()
    }

    /// Publishes what stands nowhere yet, so that a listener does not open before its secrets are there.
    pub(crate) fn publish_first(&self, resources: &Resources) {
        for (topic, secret) in secrets(resources) {
            self.put(topic, secret, |before| before.is_none());
        }
    }

    /// Publishes what is in force.
    pub(crate) fn publish(&self, resources: &Resources) {
        for (topic, secret) in secrets(resources) {
            let other = |before: &Option<Payload>| {
                before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &secret.value))
            };
            self.put(topic, secret, other);
        }
    }

    fn put(&self, topic: &Topic, secret: &Secret, when: impl Fn(&Option<Payload>) -> bool) {
        let places = self.places.lock();
        let name = topic.name.clone().unwrap_or_default();
        let place = places.get(&(topic.source.clone(), name));
        if let Some(place) = place.filter(|place| when(&place.read())) {
            place.publish(Some(secret.value.clone()));
        }
    }
}

/// Those that are there.
fn secrets(resources: &Resources) -> impl Iterator<Item = (&Topic, &Secret)> {
    let subscribed = resources.iter().filter(|(topic, _)| topic.kind == Kind::Secret);
    subscribed.filter_map(|(topic, one)| Some((topic, one.secret()?)))
}

// === impl Subscription ===

impl Subscription {
    /// The secret of a subscription to one.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        match &self.only()?.plan {
            ResourcePlan::Secret(secret) => Some(secret),
            _ => None,
        }
    }
}
