//! Owns what is set for a time: when it ends, and the lasting value that comes back then.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::command::Term;

/// Values by key that are in force for a time.
#[derive(Debug)]
pub(super) struct Leases<K, V> {
    by_key: BTreeMap<K, Lease<V>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Lease<V> {
    /// What was set without an end before it.
    pub(super) lasting: V,
    /// When that comes back.
    pub(super) until: Instant,
}

// === impl Leases ===

impl<K: Ord + Clone, V: Clone> Leases<K, V> {
    /// Notes that `key` is set now; `before` is what was in force until then. What is set for a time over
    /// something that was set for a time gives way to the same lasting value.
    pub(super) fn set(&mut self, key: K, before: V, term: Term) {
        let Term::For(time) = term else {
            self.by_key.remove(&key);
            return;
        };
        let until = Instant::now() + time;
        let lease = self.by_key.entry(key).or_insert(Lease { lasting: before, until });
        lease.until = until;
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_key.values().map(|lease| lease.until).min()
    }

    /// Takes those that have ended, with the values that come back.
    pub(super) fn take_ended(&mut self) -> Vec<(K, V)> {
        let now = Instant::now();
        let ended: Vec<_> = (self.by_key.iter())
            .filter(|(_, lease)| lease.until <= now)
            .map(|(key, lease)| (key.clone(), lease.lasting.clone()))
            .collect();
        self.by_key.retain(|_, lease| lease.until > now);
        ended
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Lease<V>)> {
        self.by_key.iter()
    }
}

impl<K, V> Default for Leases<K, V> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lasting_value_comes_back_whatever_was_set_for_a_time_in_between() {
        let seconds = |seconds| Term::For(Duration::from_secs(seconds));
        let mut leases = Leases::default();
        leases.set("a", "lasting", seconds(10));
        leases.set("a", "for ten seconds", seconds(5));
        leases.set("b", "lasting", seconds(3));
        leases.set("b", "for three seconds", Term::Lasting);
        assert_eq!(leases.next_end(), Some(Instant::now() + Duration::from_secs(5)));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(leases.take_ended().is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(leases.take_ended(), [("a", "lasting")]);
        assert_eq!(leases.next_end(), None);
    }
}
