//! Owns the compiled subsets of a cluster: which there are, and who takes a request for one that there is not.

use understudy_actors::plan::LbMetadata;

/// `LbSubsetConfig`.
#[derive(Clone, Debug)]
pub struct SubsetOptions {
    /// `fallback_policy`.
    pub fallback: Fallback,
    /// `default_subset`.
    pub default: LbMetadata,
    /// `subset_selectors`.
    pub selectors: Vec<Selector>,
    /// `locality_weight_aware`: weights of localities count in a subset, too.
    pub weighs_localities: bool,
    /// `scale_locality_weight`: as much of them as the subset has of a locality's hosts.
    pub scales_localities: bool,
    /// `panic_mode_any`: where even the fallback has nobody, any host is taken.
    pub panic_takes_any: bool,
    /// `list_as_any`: a host whose value is a list is in the subset of each element.
    pub list_as_any: bool,
    /// `metadata_fallback_policy: FALLBACK_LIST`.
    pub tries_fallback_list: bool,
    /// `allow_redundant_keys` of the extension: a route may say more than a selector asks for.
    pub takes_more_keys: bool,
}

/// Who takes a request for a subset that there is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// `NO_FALLBACK`.
    #[default]
    Nobody,
    /// `ANY_ENDPOINT`.
    Any,
    /// `DEFAULT_SUBSET`.
    Default,
}

/// `LbSubsetSelector`: subsets by the values of some keys.
#[derive(Clone, Debug)]
pub struct Selector {
    /// `keys`, in order.
    pub keys: Vec<String>,
    /// `single_host_per_subset`: each of its subsets has one host, the first of those that would be in it.
    pub single_host: bool,
    /// `fallback_policy`.
    pub fallback: SelectorFallback,
}

/// Who takes a request for a subset of a selector's that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorFallback {
    /// `NOT_DEFINED`.
    AsTheCluster,
    /// `NO_FALLBACK`.
    Nobody,
    /// `ANY_ENDPOINT`.
    Any,
    /// `DEFAULT_SUBSET`.
    Default,
    /// `KEYS_SUBSET`: the subset of some of the keys, which are fewer than the selector's.
    Keys(Vec<String>),
}

// === impl SubsetOptions ===

impl SubsetOptions {
    /// Whether somebody falls back to the default subset.
    pub fn needs_default(&self) -> bool {
        self.fallback == Fallback::Default
            || self.selectors.iter().any(|one| one.fallback == SelectorFallback::Default)
    }
}
