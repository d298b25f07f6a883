//! Owns how requests are shared among priorities: by how available each is, and in panic by its size.

/// How much of all requests a priority could take, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// By its healthy hosts.
    pub healthy: u32,
    /// By its degraded ones.
    pub degraded: u32,
}

/// A priority, as far as its share of requests depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Priority {
    /// How available it is.
    pub available: Availability,
    /// How many hosts it has.
    pub hosts: usize,
    /// How many of a hundred hosts take requests; of those that count.
    pub well_percent: f64,
}

/// Which hosts of a priority take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its healthy ones.
    Healthy,
    /// Its degraded ones.
    Degraded,
}

/// How many of a hundred requests go to each priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    healthy: Box<[u32]>,
    degraded: Box<[u32]>,
}

// === impl Availability ===

impl Availability {
    /// Of so many hosts, or of so much weight. Somewhat more than is needed is provided, so that a few may be
    /// missing before the next priority takes over.
    pub fn new(healthy: u64, degraded: u64, all: u64, overprovisioning_percent: u32) -> Self {
        let share = |part: u64| match all {
            0 => 0,
            all => u64::from(overprovisioning_percent).saturating_mul(part) / all,
        };
        let percent = |part| u32::try_from(share(part).min(100)).unwrap_or(100);
        Self { healthy: percent(healthy), degraded: percent(degraded) }
    }

    /// What all priorities could take together; more than all there is counts for nothing.
    pub fn total(levels: &[Self]) -> u32 {
        let sum: u32 = levels.iter().map(|level| level.healthy + level.degraded).sum();
        sum.min(100)
    }
}

// === impl Priority ===

impl Priority {
    /// Whether too few of its hosts take requests.
    pub fn panics(&self, threshold_percent: u32) -> bool {
        self.well_percent < f64::from(threshold_percent)
    }
}

// === impl Load ===

impl Load {
    /// Each priority takes what it can, the healthy hosts of all before the degraded ones of any; where all
    /// together are too few, in proportion. None where nobody can take anything.
    ///
    /// Source: Envoy, "Load balancing, priority levels" and "degraded endpoints".
    pub fn by_availability(levels: &[Availability]) -> Option<Self> {
        let total = Availability::total(levels);
        if total == 0 {
            return None;
        }
        let mut left = 100;
        let mut take = |available: u32| {
            let taken = (available * 100 / total).min(left);
            left -= taken;
            taken
        };
        let mut healthy: Box<[u32]> = levels.iter().map(|level| take(level.healthy)).collect();
        let mut degraded: Box<[u32]> = levels.iter().map(|level| take(level.degraded)).collect();
        // What rounding has left over goes to the first that is available.
        let first = levels.iter().position(|level| level.healthy > 0);
        let first = match first {
            Some(at) => healthy.get_mut(at),
            None => levels
                .iter()
                .position(|level| level.degraded > 0)
                .and_then(|at| degraded.get_mut(at)),
        };
        if let Some(first) = first {
            *first += left;
        }
        Some(Self { healthy, degraded })
    }

    /// By how many hosts there are, well or not: every priority is in panic.
    pub fn by_size(sizes: &[usize]) -> Self {
        let all: usize = sizes.iter().sum();
        let Some(first) = sizes.iter().position(|size| *size > 0) else {
            return Self::first(sizes.len());
        };
        let share = |size: &usize| u32::try_from(100 * size / all).unwrap_or(100);
        let mut healthy: Box<[u32]> = sizes.iter().map(share).collect();
        let left = 100 - healthy.iter().sum::<u32>();
        if let Some(first) = healthy.get_mut(first) {
            *first += left;
        }
        Self { healthy, degraded: vec![0; sizes.len()].into() }
    }

    /// Of priorities of which so many hosts are enough, and so few are panic.
    ///
    /// Source: Envoy, "Panic threshold": where all together are enough, nobody is in panic; where everybody is,
    /// hosts are counted whatever their health; where nobody can take anything and panic is off, the first fails.
    pub fn among(priorities: &[Priority], panic_percent: u32) -> Self {
        let available: Vec<_> = priorities.iter().map(|priority| priority.available).collect();
        let enough = Availability::total(&available) == 100;
        let panics = |priority: &Priority| !enough && priority.panics(panic_percent);
        match priorities.iter().all(panics) {
            true => Self::by_size(&priorities.iter().map(|one| one.hosts).collect::<Vec<_>>()),
            false => {
                Self::by_availability(&available).unwrap_or_else(|| Self::first(priorities.len()))
            }
        }
    }

    /// All to one priority, and there to one standing.
    pub fn at(level: usize, standing: Standing) -> Self {
        let mut shares = [vec![0; level + 1], vec![0; level + 1]];
        if let Some(share) = shares.get_mut(standing as usize).and_then(|all| all.get_mut(level)) {
            *share = 100;
        }
        let [healthy, degraded] = shares;
        Self { healthy: healthy.into(), degraded: degraded.into() }
    }

    /// All to the first of so many.
    pub fn first(levels: usize) -> Self {
        let mut healthy: Box<[u32]> = vec![0; levels].into();
        if let Some(first) = healthy.first_mut() {
            *first = 100;
        }
        Self { healthy, degraded: vec![0; levels].into() }
    }

    /// Where a request goes that has drawn this number.
    pub fn draw(&self, number: u64) -> (usize, Standing) {
        let number = (number % 100) as u32 + 1;
        let mut sum = 0;
        let mut reached = |share: &u32| {
            sum += *share;
            number <= sum
        };
        match self.healthy.iter().position(&mut reached) {
            Some(at) => (at, Standing::Healthy),
            None => match self.degraded.iter().position(reached) {
                Some(at) => (at, Standing::Degraded),
                None => (0, Standing::Healthy),
            },
        }
    }

    /// How many of a hundred go there.
    pub fn of(&self, level: usize, standing: Standing) -> u32 {
        let shares = match standing {
            Standing::Healthy => &self.healthy,
            Standing::Degraded => &self.degraded,
        };
        shares.get(level).copied().unwrap_or(0)
    }

    /// The priority whose healthy hosts take all.
    pub fn only(&self) -> Option<usize> {
        self.healthy.iter().position(|share| *share == 100)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of levels in which so many of a hundred hosts are healthy and degraded.
    fn split(levels: &[(u64, u64)]) -> Option<(Vec<u32>, Vec<u32>)> {
        let levels: Vec<_> = levels
            .iter()
            .map(|(healthy, degraded)| Availability::new(*healthy, *degraded, 100, 140))
            .collect();
        Load::by_availability(&levels).map(|load| (load.healthy.to_vec(), load.degraded.to_vec()))
    }

    /// Source: the tables of Envoy's "Priority levels" and "Degraded endpoints".
    #[test]
    fn envoys_documented_examples() {
        for (levels, healthy, degraded) in [
            (&[(100, 0), (100, 0)][..], &[100, 0][..], &[0, 0][..]),
            (&[(72, 0), (100, 0)], &[100, 0], &[0, 0]),
            (&[(71, 0), (100, 0)], &[99, 1], &[0, 0]),
            (&[(50, 0), (100, 0)], &[70, 30], &[0, 0]),
            (&[(25, 0), (100, 0)], &[35, 65], &[0, 0]),
            (&[(0, 0), (100, 0)], &[0, 100], &[0, 0]),
            (&[(25, 0), (25, 0)], &[50, 50], &[0, 0]),
            (&[(20, 0), (20, 0), (10, 0)], &[40, 40, 20], &[0, 0, 0]),
            (&[(5, 0), (0, 0), (0, 0)], &[100, 0, 0], &[0, 0, 0]),
            (&[(50, 20), (100, 0)], &[70, 30], &[0, 0]),
            (&[(0, 100), (100, 0)], &[0, 100], &[0, 0]),
            (&[(0, 100), (50, 0)], &[0, 70], &[30, 0]),
            (&[(0, 50), (0, 0)], &[0, 0], &[100, 0]),
        ] {
            assert_eq!(split(levels), Some((healthy.to_vec(), degraded.to_vec())), "{levels:?}");
        }
        assert_eq!(split(&[(0, 0), (0, 0)]), None);
    }

    #[test]
    fn in_panic_everywhere_hosts_are_counted_whatever_their_health() {
        assert_eq!(&*Load::by_size(&[2, 1]).healthy, [67, 33]);
        assert_eq!(&*Load::by_size(&[0, 1, 1]).healthy, [0, 50, 50]);
        assert_eq!(&*Load::by_size(&[0, 0]).healthy, [100, 0]);
    }

    #[test]
    fn each_number_leads_where_its_share_lies() {
        let load = Load { healthy: [70, 0].into(), degraded: [10, 20].into() };
        let mut counts = [[0; 2]; 2];
        for number in 0..1000 {
            let (at, standing) = load.draw(number);
            counts[at][standing as usize] += 1;
        }
        assert_eq!(counts, [[700, 100], [0, 200]]);
    }

    proptest! {
        #[test]
        fn the_shares_are_a_hundred_together_and_go_to_whom_they_can(
            levels in prop::collection::vec((0_u32..=100, 0_u32..=100), 1..8),
        ) {
            let levels: Vec<_> = levels
                .into_iter()
                .map(|(healthy, degraded)| Availability { healthy, degraded })
                .collect();
            if let Some(load) = Load::by_availability(&levels) {
                let sum: u32 = load.healthy.iter().chain(&load.degraded).sum();
                prop_assert_eq!(sum, 100);
                for (at, level) in levels.iter().enumerate() {
                    prop_assert!(level.healthy > 0 || load.of(at, Standing::Healthy) == 0);
                    prop_assert!(level.degraded > 0 || load.of(at, Standing::Degraded) == 0);
                }
            } else {
                prop_assert!(levels.iter().all(|level| *level == Availability::default()));
            }
        }
    }
}
