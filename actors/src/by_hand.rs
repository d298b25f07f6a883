//! Owns what people change about a cluster's hosts while it runs (`/clusters/endpoints`): which they add, take
//! away or drain, and until when. It wins over what discovery says.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    address::Address,
    command::{EndpointChange, Term},
};

/// Addresses that can be changed at a time in one cluster.
pub const CHANGED_MAX: usize = 4096;

/// All that was changed in one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByHand {
    by_address: BTreeMap<Address, Changed>,
}

/// One address that was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Changed {
    /// What is in force.
    pub hand: Hand,
    /// When that ends, and what comes back then.
    pub lease: Option<(Instant, Hand)>,
}

/// What was said of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hand {
    /// It is a host, whether discovery has it or not.
    pub added: bool,
    /// Its weight, where that is not discovery's.
    pub weight: Option<u32>,
    /// Whether it takes requests.
    pub standing: Standing,
}

/// Whether a host takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// As its health says.
    #[default]
    InUse,
    /// No new ones; those under way end. It stays visible.
    Draining,
    /// None: it is no host, though discovery may say so.
    Removed,
}

// === impl ByHand ===

impl ByHand {
    /// The same after these changes, in their order; `is_host` says what discovery has.
    ///
    /// # Errors
    ///
    /// What cannot be done, and the way out. Nothing is changed then.
    pub fn changed(
        &self,
        changes: &[EndpointChange],
        term: Term,
        is_host: impl Fn(Address) -> bool,
    ) -> Result<Self, String> {
        let mut next = self.clone();
        for change in changes {
            let (address, before) = (change.address(), next.of(change.address()));
            let (found, removed) = (is_host(address), before.standing == Standing::Removed);
            let hand = match *change {
                // A host that discovery has needs no adding: it comes back, and goes when discovery says so.
                EndpointChange::Add { weight, .. } => {
                    Hand { added: before.added || !found, weight, standing: Standing::InUse }
                }
                _ if removed || !(found || before.added) => {
                    return Err(format!("{address} is not a host; add={address} makes it one"));
                }
                EndpointChange::Remove(_) if found => {
                    Hand { standing: Standing::Removed, ..Hand::default() }
                }
                EndpointChange::Remove(_) => Hand::default(),
                EndpointChange::Drain(_) => Hand { standing: Standing::Draining, ..before },
            };
            next.set(address, hand, term);
        }
        match next.by_address.len() <= CHANGED_MAX {
            true => Ok(next),
            false => Err(format!("more than {CHANGED_MAX} addresses would be changed by hand")),
        }
    }

    /// What is set for a time over something that was set for a time gives way to the same lasting state.
    fn set(&mut self, address: Address, hand: Hand, term: Term) {
        let lasting = self.by_address.get(&address).map_or(Hand::default(), Changed::lasting);
        let lease = match term {
            Term::Lasting => None,
            Term::For(time) => Some((Instant::now() + time, lasting)),
        };
        self.keep(address, Changed { hand, lease });
    }

    fn keep(&mut self, address: Address, changed: Changed) {
        match changed == Changed::default() {
            true => self.by_address.remove(&address),
            false => self.by_address.insert(address, changed),
        };
    }

    /// What was said of an address.
    pub fn of(&self, address: Address) -> Hand {
        self.by_address.get(&address).map_or(Hand::default(), |changed| changed.hand)
    }

    /// Every address that was changed.
    pub fn iter(&self) -> impl Iterator<Item = (Address, Changed)> {
        self.by_address.iter().map(|(address, changed)| (*address, *changed))
    }

    /// When the next change ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.by_address.values().filter_map(|changed| changed.lease).map(|(until, _)| until).min()
    }

    /// The same without what has ended.
    pub(crate) fn without_ended(&self, now: Instant) -> Self {
        let mut next = Self::default();
        for (address, changed) in self.iter() {
            let lasting = Changed { hand: changed.lasting(), lease: None };
            let ended = changed.lease.is_some_and(|(until, _)| until <= now);
            next.keep(address, if ended { lasting } else { changed });
        }
        next
    }
}

// === impl Changed ===

impl Changed {
    /// What is in force once nothing is for a time any more.
    fn lasting(&self) -> Hand {
        self.lease.map_or(self.hand, |(_, lasting)| lasting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(last: u8) -> Address {
        Address::Ip(([10, 0, 0, last], 80).into())
    }

    const FOUND: fn(Address) -> bool = |address| address == at(1);

    fn change(by_hand: &ByHand, change: EndpointChange, term: Term) -> Result<ByHand, String> {
        by_hand.changed(&[change], term, FOUND)
    }

    #[test]
    fn what_was_changed_can_be_changed_back() {
        use EndpointChange::{Add, Drain, Remove};
        let add = |last| Add { address: at(last), weight: None };
        for (changes, left) in [
            (vec![add(2), Remove(at(2))], 0),
            (vec![Remove(at(1)), add(1)], 0),
            (vec![Drain(at(1)), add(1)], 0),
            (vec![add(2), Drain(at(2)), add(2)], 1),
            (vec![Add { address: at(1), weight: Some(3) }], 1),
        ] {
            let by_hand = ByHand::default().changed(&changes, Term::Lasting, FOUND).unwrap();
            assert_eq!(by_hand.iter().count(), left, "{changes:?}");
        }
        for wrong in [vec![Remove(at(2))], vec![Drain(at(2))], vec![Remove(at(1)), Drain(at(1))]] {
            let error = ByHand::default().changed(&wrong, Term::Lasting, FOUND).unwrap_err();
            assert!(error.contains("is not a host; add=10.0.0."), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_set_for_a_time_gives_way_to_what_was_lasting() {
        use EndpointChange::{Drain, Remove};
        let seconds = |seconds| Term::For(Duration::from_secs(seconds));
        let drained = change(&ByHand::default(), Drain(at(1)), Term::Lasting).unwrap();
        let drained = change(&drained, Drain(at(1)), seconds(9)).unwrap();
        let removed = change(&drained, Remove(at(1)), seconds(5)).unwrap();
        assert_eq!(removed.of(at(1)).standing, Standing::Removed);
        assert_eq!(removed.next_end(), Some(Instant::now() + Duration::from_secs(5)));
        tokio::time::sleep(Duration::from_secs(6)).await;
        let ended = removed.without_ended(Instant::now());
        assert_eq!(ended.of(at(1)).standing, Standing::Draining);
        assert_eq!(ended.next_end(), None);
    }
}
