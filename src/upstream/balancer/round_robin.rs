//! Owns `ROUND_ROBIN`: strict rotation over one cursor that all workers share, weighted by earliest
//! deadline first where weights differ.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::edf::Edf;

/// Turns of a weighted rotation at most; heavier sums are scaled down.
const TURNS_MAX: u64 = 65_536;

/// Where a rotation stands, for all workers. It goes on there when hosts come and go.
pub(super) type Cursor = Arc<AtomicUsize>;

/// A rotation.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    cursor: Cursor,
    /// Hosts by turn.
    turns: Arc<[u32]>,
}

// === impl Rotation ===

impl Rotation {
    /// Over these hosts, as often as their weights say.
    pub(super) fn new(hosts: &Arc<[u32]>, weights: &[u32], cursor: Cursor) -> Self {
        let turns = match are_equal(weights) {
            true => hosts.clone(),
            false => {
                let turns = earliest_deadline_first(weights).into_iter();
                turns.filter_map(|at| hosts.get(at as usize).copied()).collect()
            }
        };
        Self { cursor, turns }
    }

    /// Where it stands.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Whose turn it is after so many others.
    pub(super) fn foresee(&self, after: usize) -> Option<usize> {
        let turn = self.cursor.load(Relaxed).wrapping_add(after);
        let turn = turn.checked_rem(self.turns.len())?;
        self.turns.get(turn).map(|host| *host as usize)
    }

    /// Whose turn it is.
    #[inline]
    pub(super) fn pick(&self) -> Option<usize> {
        if self.turns.is_empty() {
            return None;
        }
        let turn = self.cursor.fetch_add(1, Relaxed);
        self.turns.get(turn % self.turns.len()).map(|host| *host as usize)
    }
}

pub(super) fn are_equal(weights: &[u32]) -> bool {
    weights.iter().all(|weight| Some(weight) == weights.first())
}

/// One whole rotation: each host `i` has `weights[i]` turns, spread as Envoy's scheduler spreads them.
fn earliest_deadline_first(weights: &[u32]) -> Vec<u32> {
    let weights = || weights.iter().map(|weight| u64::from((*weight).max(1)));
    let divisor = weights().fold(0, greatest_common_divisor).max(1);
    let sum: u64 = weights().map(|weight| weight / divisor).sum();
    let scale = sum.div_ceil(TURNS_MAX).max(1);
    let weights: Vec<f64> =
        weights().map(|weight| (weight / divisor / scale).max(1) as f64).collect();
    let turns = weights.iter().sum::<f64>() as usize;
    let mut edf = Edf::new(weights.iter().copied());
    (0..turns).filter_map(|_| edf.pick(|who| weights[who as usize])).collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_gives_each_host_its_weight_and_spreads_its_turns() {
        assert_eq!(earliest_deadline_first(&[3, 1]), [0, 0, 1, 0]);
        let rotation = earliest_deadline_first(&[200, 100, 100]);
        assert_eq!(rotation.len(), 4);
        assert_eq!(rotation.iter().filter(|host| **host == 0).count(), 2);
        assert!(earliest_deadline_first(&[4_000_000_007, 3]).len() <= TURNS_MAX as usize + 2);
    }

    #[test]
    fn a_rotation_goes_on_where_it_stood_when_hosts_come() {
        let cursor = Cursor::default();
        let picks = |hosts: &[u32], n: usize| -> Vec<usize> {
            let weights = vec![1; hosts.len()];
            let rotation = Rotation::new(&hosts.into(), &weights, cursor.clone());
            (0..n).filter_map(|_| rotation.pick()).collect()
        };
        assert_eq!(picks(&[4, 7], 3), [4, 7, 4]);
        assert_eq!(picks(&[4, 7, 9], 3), [4, 7, 9]);
        assert!(picks(&[], 3).is_empty());
    }
}
