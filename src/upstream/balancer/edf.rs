//! Owns Envoy's scheduler for weights: earliest deadline first.
//!
//! What was picked is due again `1 / weight` later; the earliest is picked, first come first among equals.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Whose turn it is, of those that have a weight.
#[derive(Debug, Default)]
pub(super) struct Edf {
    queue: BinaryHeap<Due>,
    now: f64,
    order: u64,
}

/// A turn that is due; the greatest of a heap is the earliest.
#[derive(Debug, PartialEq)]
struct Due {
    at: f64,
    order: u64,
    who: u32,
}

/// Weights below this are taken for it, so that no deadline is infinite.
const WEIGHT_MIN: f64 = 1e-9;

// === impl Edf ===

impl Edf {
    /// All of these weights, in order, none of which was picked yet.
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        Self::later(weights, 0.0)
    }

    /// As if so many picks had been made before, but for those of a last incomplete round.
    pub(super) fn later(weights: impl IntoIterator<Item = f64>, picks: f64) -> Self {
        let weights: Vec<f64> = weights.into_iter().collect();
        let sum: f64 = weights.iter().sum();
        let mut edf = Self::default();
        for (who, weight) in weights.into_iter().enumerate() {
            let weight = weight.max(WEIGHT_MIN);
            let picked = if sum > 0.0 { (weight / sum * picks).floor() } else { 0.0 };
            edf.now = edf.now.max(picked / weight);
            edf.push((picked + 1.0) / weight, who as u32);
        }
        edf
    }

    /// Whose turn it is; its next one depends on the weight that it has now.
    pub(super) fn pick(&mut self, weight: impl FnOnce(u32) -> f64) -> Option<u32> {
        let due = self.queue.pop()?;
        self.now = self.now.max(due.at);
        self.push(self.now + 1.0 / weight(due.who).max(WEIGHT_MIN), due.who);
        Some(due.who)
    }

    fn push(&mut self, at: f64, who: u32) {
        self.queue.push(Due { at, order: self.order, who });
        self.order += 1;
    }
}

// === impl Due ===

impl Eq for Due {}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_spread_and_a_weight_that_changes_counts_from_its_next_turn() {
        let mut edf = Edf::new([3.0, 1.0]);
        let mut picks = |weight: f64| -> Vec<u32> {
            (0..4).filter_map(|_| edf.pick(|who| if who == 0 { weight } else { 1.0 })).collect()
        };
        assert_eq!(picks(3.0), [0, 0, 1, 0]);
        assert_eq!(picks(1.0).iter().filter(|who| **who == 0).count(), 2);
        assert_eq!(Edf::default().pick(|_| 1.0), None);
    }

    proptest! {
        #[test]
        fn every_one_has_its_share_wherever_the_schedule_begins(
            weights in prop::collection::vec(1_u32..20, 1..12),
            picks in 0_u32..1000,
        ) {
            let sum: u32 = weights.iter().sum();
            let weight = |who: u32| f64::from(weights[who as usize]);
            let mut edf = Edf::later((0..weights.len() as u32).map(weight), f64::from(picks));
            let mut counts = vec![0; weights.len()];
            for _ in 0..10 * sum {
                counts[edf.pick(weight).unwrap() as usize] += 1;
            }
            for (weight, count) in weights.iter().zip(&counts) {
                prop_assert!((i64::from(10 * weight) - count).abs() <= weights.len() as i64);
            }
        }
    }
}
