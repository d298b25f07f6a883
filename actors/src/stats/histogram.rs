//! Owns the log-linear histogram: two significant decimal digits, as Envoy's libcircllhist keeps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Quantiles that Envoy prints, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// Upper bounds of the buckets that Envoy prints by default.
pub const BUCKETS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0,
    60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0,
];

/// Powers of ten that are told apart; values beyond count in the last bin.
const DECADES: usize = 10;
/// Bin 0 is the value 0, then 90 bins for each power of ten.
const BINS: usize = 1 + 90 * DECADES;

/// One writer's bins.
pub(super) struct Histogram {
    bins: [AtomicU64; BINS],
    sum: AtomicU64,
}

/// Bins summed over writers. Empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins {
    /// Bin and count, by bin.
    counts: Vec<(u16, u64)>,
    sum: u64,
}

/// A histogram as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    /// Since the start.
    pub cumulative: Bins,
    /// Of the last flush interval.
    pub interval: Bins,
}

/// The bin of a value: 0, or its first two digits and its power of ten.
#[inline]
fn bin(value: u64) -> usize {
    // Most are milliseconds below a hundred: no logarithm for those.
    match value {
        0 => return 0,
        1..10 => return 1 + (value as usize * 10 - 10),
        10..100 => return 1 + 90 + (value as usize - 10),
        _ => {}
    }
    let decade = value.ilog10() as usize;
    if decade >= DECADES {
        return BINS - 1;
    }
    let digits = value / 10u64.pow(decade as u32 - 1);
    1 + 90 * decade + (digits as usize - 10)
}

/// Lower bound and width of a bin.
fn bounds(bin: u16) -> (f64, f64) {
    let Some(at) = usize::from(bin).checked_sub(1) else {
        return (0.0, 0.0);
    };
    let (decade, digits) = ((at / 90) as i32, (at % 90 + 10) as f64);
    // Dividing by a power of ten keeps 1.1 exactly what a reader expects; multiplying by 0.1 does not.
    match decade {
        0 => (digits / 10.0, 0.1),
        _ => (digits * 10f64.powi(decade - 1), 10f64.powi(decade - 1)),
    }
}

// === impl Histogram ===

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: [const { AtomicU64::new(0) }; BINS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Records from the one writer of this lane.
    #[inline]
    pub(super) fn record(&self, value: u64) {
        let cell = &self.bins[bin(value)];
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    /// Records where several threads write.
    pub(super) fn record_shared(&self, value: u64) {
        self.bins[bin(value)].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    pub(super) fn add_to(&self, total: &mut Bins) {
        let own = self.bins.iter().enumerate();
        let own = own.map(|(bin, count)| (bin as u16, count.load(Relaxed)));
        total.add(own.filter(|(_, count)| *count > 0), self.sum.load(Relaxed));
    }
}

// === impl Bins ===

impl Bins {
    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The sum of the values, as recorded.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Lower bound, width and count of each bin that is not empty, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64, u64)> + '_ {
        self.counts.iter().map(|(bin, count)| {
            let (low, width) = bounds(*bin);
            (low, width, *count)
        })
    }

    /// The quantile `q` in 0..=1, or `None` without values. The k-th of n values of a bin stands at
    /// k/(n+1) of its width. Observed: Envoy 1.40 `/stats`.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut before = 0;
        for (low, width, count) in self.iter() {
            if rank <= before + count {
                return Some(low + width * (rank - before) as f64 / (count + 1) as f64);
            }
            before += count;
        }
        None
    }

    /// How many values lie at or below `bound`, by whole bins: the bin that begins at `bound` holds
    /// it. Observed: Envoy 1.40 counts 1 ms in `le="1"`.
    pub fn count_at_most(&self, bound: f64) -> u64 {
        self.iter().filter(|(low, _, _)| *low <= bound).map(|(_, _, count)| count).sum()
    }

    /// Adds what another histogram holds.
    pub fn merge(&mut self, other: &Bins) {
        self.add(other.counts.iter().copied(), other.sum);
    }

    /// What was recorded since `earlier`, which is an older reading of the same bins.
    pub(super) fn since(&self, earlier: &Bins) -> Bins {
        let old = |bin: u16| {
            let at = earlier.counts.binary_search_by_key(&bin, |(bin, _)| *bin);
            at.map_or(0, |at| earlier.counts[at].1)
        };
        let counts = self.counts.iter().map(|(bin, count)| (*bin, count.wrapping_sub(old(*bin))));
        Bins {
            counts: counts.filter(|(_, count)| *count > 0).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    fn add(&mut self, own: impl Iterator<Item = (u16, u64)>, sum: u64) {
        for (bin, count) in own {
            match self.counts.binary_search_by_key(&bin, |(bin, _)| *bin) {
                Ok(at) => self.counts[at].1 += count,
                Err(at) => self.counts.insert(at, (bin, count)),
            }
        }
        self.sum = self.sum.wrapping_add(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(values: &[u64]) -> Bins {
        let histogram = Box::<Histogram>::default();
        values.iter().for_each(|value| histogram.record(*value));
        let mut bins = Bins::default();
        histogram.add_to(&mut bins);
        bins
    }

    #[test]
    fn quantiles_are_envoys() {
        // Observed: Envoy 1.40 `/stats` after requests of 0, 1, 1, 1 and 2 ms.
        let bins = bins(&[0, 1, 1, 1, 2]);
        let seen: Vec<_> = QUANTILES.iter().map(|q| bins.quantile(q / 100.0).unwrap()).collect();
        assert_eq!(seen[..5], [0.0, 1.025, 1.05, 1.075, 2.05]);
    }

    #[test]
    fn every_value_falls_into_a_bin_that_holds_it() {
        for value in (0..2000).chain([9_999, 10_000, 123_456, 9_999_999_999]) {
            let (low, width) = bounds(bin(value) as u16);
            let value = value as f64;
            assert!(
                low <= value && (value < low + width || value == 0.0),
                "{value}: {low} {width}"
            );
        }
        assert_eq!(bin(u64::MAX), BINS - 1);
    }

    #[test]
    fn an_interval_is_what_came_since_and_both_are_the_whole() {
        let (before, after) = (bins(&[1, 5]), bins(&[1, 5, 5, 30]));
        let came = after.since(&before);
        assert_eq!(came, bins(&[5, 30]));
        let mut whole = before;
        whole.merge(&came);
        assert_eq!(whole, after);
    }
}
