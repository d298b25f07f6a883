//! Owns the arithmetic of outliers: which hosts do so much worse than others, or so badly, that they go.

use crate::event::Means;

/// A host's requests in an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    /// Its place in the list of hosts.
    pub(super) at: usize,
    pub(super) requests: u64,
    /// Percent of them that went well.
    pub(super) percent: f64,
}

/// Hosts with enough requests, if there are enough of them.
fn enough(rates: &[Rate], minimum_hosts: u64, request_volume: u64) -> Vec<Rate> {
    let busy = rates.iter().copied().filter(|rate| rate.requests >= request_volume);
    let busy: Vec<_> = busy.collect();
    match busy.len() as u64 >= minimum_hosts {
        true => busy,
        false => Vec::new(),
    }
}

/// Hosts whose success is further below the mean than so many standard deviations.
///
/// Source: Envoy, "Outlier detection", success rate.
pub(super) fn far_below(
    rates: &[Rate],
    (minimum_hosts, request_volume, factor): (u64, u64, f64),
) -> (Means, Vec<Rate>) {
    let busy = enough(rates, minimum_hosts, request_volume);
    if busy.is_empty() {
        return (Means::UNKNOWN, busy);
    }
    let count = busy.len() as f64;
    let average = busy.iter().map(|rate| rate.percent).sum::<f64>() / count;
    let variance = busy.iter().map(|rate| (rate.percent - average).powi(2)).sum::<f64>() / count;
    let threshold = average - factor * variance.sqrt();
    let below = busy.into_iter().filter(|rate| rate.percent < threshold).collect();
    (Means { average, threshold }, below)
}

/// Hosts of whose requests so many percent fail.
///
/// Source: Envoy, "Outlier detection", failure percentage.
pub(super) fn failing(
    rates: &[Rate],
    (minimum_hosts, request_volume, threshold): (u64, u64, f64),
) -> Vec<Rate> {
    let busy = enough(rates, minimum_hosts, request_volume);
    busy.into_iter().filter(|rate| 100.0 - rate.percent >= threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(percents: &[f64]) -> Vec<Rate> {
        let rate = |(at, percent): (usize, &f64)| Rate { at, requests: 100, percent: *percent };
        percents.iter().enumerate().map(rate).collect()
    }

    #[test]
    fn a_host_far_below_the_mean_is_an_outlier_and_few_hosts_have_no_mean() {
        let five = rates(&[50.0, 100.0, 100.0, 100.0, 100.0]);
        let (means, below) = far_below(&five, (5, 100, 1.9));
        assert_eq!(means, Means { average: 90.0, threshold: 52.0 });
        assert_eq!(below.iter().map(|rate| rate.at).collect::<Vec<_>>(), [0]);
        for plan in [(6, 100, 1.9), (5, 101, 1.9)] {
            assert_eq!(far_below(&five, plan), (Means::UNKNOWN, Vec::new()), "{plan:?}");
        }
        assert_eq!(far_below(&five, (5, 100, 2.1)).1, []);
    }

    #[test]
    fn hosts_that_fail_too_often_are_outliers_however_the_others_do() {
        let all = rates(&[0.0, 15.0, 15.1, 100.0]);
        let failing = failing(&all, (4, 100, 85.0));
        assert_eq!(failing.iter().map(|rate| rate.at).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(super::failing(&all, (5, 100, 85.0)), []);
    }
}
