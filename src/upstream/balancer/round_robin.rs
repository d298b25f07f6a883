//! Owns `ROUND_ROBIN`: strict rotation over one cursor that all workers share, weighted by earliest
//! deadline first where weights differ.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use understudy_actors::snapshot::{ClusterSnapshot, Host};

/// Turns of a weighted rotation at most; heavier sums are scaled down.
const TURNS_MAX: u64 = 65_536;

/// The rotation over the hosts of one snapshot.
#[derive(Debug)]
pub struct RoundRobin {
    /// Hosts by turn; empty when all weights are equal and a turn is a position.
    turns: Vec<u32>,
}

// === impl RoundRobin ===

impl RoundRobin {
    /// Lays out the turns.
    pub(super) fn new(eligible: &[Arc<Host>]) -> Self {
        let weights: Vec<u64> =
            eligible.iter().map(|host| u64::from(host.endpoint.weight.max(1))).collect();
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        Self { turns: if equal { Vec::new() } else { earliest_deadline_first(&weights) } }
    }

    /// Whose turn it is.
    #[inline]
    pub(super) fn pick(&self, snapshot: &ClusterSnapshot) -> Option<usize> {
        let hosts = snapshot.eligible.len();
        if hosts == 0 {
            return None;
        }
        let turn = snapshot.shared.cursor.fetch_add(1, Relaxed);
        match self.turns.is_empty() {
            true => Some(turn % hosts),
            false => self.turns.get(turn % self.turns.len()).map(|host| *host as usize),
        }
    }
}

/// One whole rotation: each host `i` has `weights[i]` turns, spread as Envoy's scheduler spreads
/// them. A host's next turn is due `1 / weight` after its last; the earliest is taken, first come
/// first among equals.
fn earliest_deadline_first(weights: &[u64]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let sum: u64 = weights.iter().map(|weight| weight / divisor).sum();
    let scale = sum.div_ceil(TURNS_MAX).max(1);
    let weights: Vec<f64> =
        weights.iter().map(|weight| (weight / divisor / scale).max(1) as f64).collect();
    let turns = weights.iter().sum::<f64>() as usize;

    let mut queue: std::collections::BinaryHeap<Due> = (weights.iter().enumerate())
        .map(|(host, weight)| Due { at: 1.0 / weight, order: host as u64, host: host as u32 })
        .collect();
    let mut order = weights.len() as u64;
    let mut rotation = Vec::with_capacity(turns);
    while rotation.len() < turns {
        let Some(due) = queue.pop() else { break };
        rotation.push(due.host);
        order += 1;
        queue.push(Due { at: due.at + 1.0 / weights[due.host as usize], order, host: due.host });
    }
    rotation
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// A turn that is due; the greatest of a heap is the earliest.
#[derive(Debug, PartialEq)]
struct Due {
    at: f64,
    order: u64,
    host: u32,
}

impl Eq for Due {}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
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
}
