//! Owns drawing one of several clusters by their weights.

use super::Lots;
use crate::{
    codec::RequestHead,
    config::model::{
        hash_policy::HashPolicy,
        route::{ClusterWeight, WeightedClusters},
    },
};

impl WeightedClusters {
    /// The cluster whose turn it is by a number: the request's own where it brings one, or is hashed to
    /// one. None where the runtime says no weight at all.
    ///
    /// Observed: Envoy 1.40.
    pub(super) fn pick(
        &self,
        policies: &[HashPolicy],
        request: &RequestHead,
        lots: &impl Lots,
    ) -> Option<&ClusterWeight> {
        let brought = match &self.header {
            Some(header) => number(request, header),
            None if self.by_hash => lots.hash(policies, request),
            None => None,
        };
        let random = brought.unwrap_or_else(|| lots.number());
        let weight = |cluster: &ClusterWeight| match self.by_runtime {
            true => u64::from(lots.weight(&cluster.runtime_key, cluster.weight)),
            false => u64::from(cluster.weight),
        };
        let total = match self.by_runtime {
            true => self.clusters.iter().map(weight).sum(),
            false => u64::from(self.total),
        };
        let mut left = random.checked_rem(total)?;
        self.clusters.iter().find(|cluster| {
            let own = weight(cluster);
            let here = left < own;
            left = left.saturating_sub(own);
            here
        })
    }
}

/// The number that a request brings in a header, if it is one and there is one only.
fn number(request: &RequestHead, header: &[u8]) -> Option<u64> {
    let mut values = request.headers.get_all_named(header);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

#[cfg(test)]
mod tests {
    use understudy_actors::runtime::Share;

    use super::*;
    use crate::{
        config::model::{
            hash_policy::HashBy,
            route::{ClusterChoice, MutationLevel},
        },
        filter_state::FilterState,
    };

    struct Said<F>(u64, F);

    impl<F: Fn(&str, u32) -> u32> Lots for Said<F> {
        fn takes(&self, _: &str, _: Share, _: u64) -> bool {
            true
        }

        fn number(&self) -> u64 {
            self.0
        }

        fn certificate(&self) -> Option<bool> {
            None
        }

        fn filter_state(&self) -> Option<&FilterState> {
            None
        }

        fn weight(&self, key: &str, default: u32) -> u32 {
            (self.1)(key, default)
        }

        fn hash(&self, policies: &[HashPolicy], _: &RequestHead) -> Option<u64> {
            (!policies.is_empty()).then_some(95)
        }
    }

    fn weighted(weights: &[u32], by_runtime: bool, header: Option<&str>) -> WeightedClusters {
        let clusters = weights.iter().enumerate().map(|(at, weight)| ClusterWeight {
            cluster: ClusterChoice::Header(at.to_string().into_bytes()),
            weight: *weight,
            runtime_key: format!("k.{at}"),
            metadata_match: Default::default(),
            host_rewrite: String::new(),
            filter_configs: Vec::new(),
            own_mutations: MutationLevel::default(),
            mutations: None,
        });
        WeightedClusters {
            clusters: clusters.collect(),
            total: weights.iter().sum(),
            by_runtime,
            header: header.map(|name| name.as_bytes().to_vec()),
            by_hash: false,
        }
    }

    fn picked(
        weighted: &WeightedClusters,
        values: &[&str],
        random: u64,
        weigh: impl Fn(&str, u32) -> u32,
    ) -> Option<usize> {
        let mut request = RequestHead::default();
        values.iter().for_each(|value| request.headers.append_name(b"x-r", value.as_bytes()));
        let one = weighted.pick(&[], &request, &Said(random, weigh))?;
        weighted.clusters.iter().position(|cluster| std::ptr::eq(cluster, one))
    }

    #[test]
    fn a_hash_decides_where_the_route_has_a_policy_that_finds_something() {
        let mut clusters = weighted(&[30, 0, 70], false, None);
        let said = Said(0, |_: &str, weight| weight);
        let policy = [HashPolicy { by: HashBy::SourceIp, terminal: false }];
        for (by_hash, policies, weight) in
            [(true, &policy[..], 70), (true, &[], 30), (false, &policy, 30)]
        {
            clusters.by_hash = by_hash;
            let picked = clusters.pick(policies, &RequestHead::default(), &said);
            assert_eq!(picked.map(|one| one.weight), Some(weight), "{by_hash} {policies:?}");
        }
    }

    #[test]
    fn each_cluster_gets_its_share_by_a_number_of_the_requests_or_our_own() {
        let same = |_: &str, weight: u32| weight;
        let plain = weighted(&[30, 0, 70], false, None);
        let header = weighted(&[30, 0, 70], false, Some("x-r"));
        for (clusters, values, random, expected) in [
            (&plain, &[][..], 0, 0),
            (&plain, &[], 29, 0),
            (&plain, &[], 30, 2),
            (&plain, &["30"], 129, 0),
            (&header, &["29"], 30, 0),
            (&header, &["30"], 0, 2),
            (&header, &["110"], 99, 0),
            (&header, &["abc"], 30, 2),
            (&header, &["-1"], 30, 2),
            (&header, &[""], 30, 2),
            (&header, &["0", "0"], 30, 2),
        ] {
            assert_eq!(
                picked(clusters, values, random, same),
                Some(expected),
                "{values:?} {random}"
            );
        }
        let other = |key: &str, weight: u32| if key == "k.0" { 0 } else { weight };
        assert_eq!(picked(&weighted(&[1, 1], true, None), &[], 0, other), Some(1));
        assert_eq!(picked(&weighted(&[1, 1], true, None), &[], 0, |_, _| 0), None);
    }
}
