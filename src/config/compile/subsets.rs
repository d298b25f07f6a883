//! Owns compiling the subsets of a cluster.

use super::{Compiler, lb_metadata::lb_fields};
use crate::config::{
    Message,
    message::Value,
    model::subsets::{Fallback, Selector, SelectorFallback, SubsetOptions},
};

const EXTENSION: &str = "envoy.extensions.load_balancing_policies.subset.v3.Subset";

impl Compiler<'_> {
    /// `LbSubsetConfig`, of a cluster or of an extension; none without selectors.
    pub(super) fn subsets(&mut self, config: &Message) -> Option<SubsetOptions> {
        let selectors: Vec<_> =
            config.messages("subset_selectors").filter_map(|one| self.selector(one)).collect();
        let default = match config.get("default_subset").map(|set| &set.value) {
            Some(Value::Json(fields)) => lb_fields(fields),
            _ => Default::default(),
        };
        let flag = |name: &str| config.boolean(name).unwrap_or(false);
        let options = SubsetOptions {
            fallback: match config.choice("fallback_policy") {
                Some("ANY_ENDPOINT") => Fallback::Any,
                Some("DEFAULT_SUBSET") => Fallback::Default,
                _ => Fallback::Nobody,
            },
            default,
            weighs_localities: flag("locality_weight_aware"),
            scales_localities: flag("scale_locality_weight"),
            panic_takes_any: flag("panic_mode_any"),
            list_as_any: flag("list_as_any"),
            tries_fallback_list: config.choice("metadata_fallback_policy") == Some("FALLBACK_LIST"),
            takes_more_keys: config.name() == EXTENSION && flag("allow_redundant_keys"),
            selectors,
        };
        (!options.selectors.is_empty()).then_some(options)
    }

    fn selector(&mut self, selector: &Message) -> Option<Selector> {
        let texts = |field: &str| {
            let mut texts: Vec<_> =
                selector.texts(field).map(|(text, _)| text.to_owned()).collect();
            texts.sort();
            texts.dedup();
            texts
        };
        let (keys, fewer) = (texts("keys"), texts("fallback_keys_subset"));
        let policy = selector.choice("fallback_policy");
        if !fewer.is_empty() && policy != Some("KEYS_SUBSET") {
            let text = "fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy";
            self.error(selector.at, &selector.path, text, "");
            return None;
        }
        let fallback = match policy {
            Some("NO_FALLBACK") => SelectorFallback::Nobody,
            Some("ANY_ENDPOINT") => SelectorFallback::Any,
            Some("DEFAULT_SUBSET") => SelectorFallback::Default,
            Some("KEYS_SUBSET") => {
                let text = match () {
                    () if fewer.is_empty() => "fallback_keys_subset cannot be empty",
                    () if !fewer.iter().all(|key| keys.contains(key)) => {
                        "fallback_keys_subset must be a subset of selector keys"
                    }
                    () if fewer.len() == keys.len() => {
                        "fallback_keys_subset cannot be equal to keys"
                    }
                    () => "",
                };
                if !text.is_empty() {
                    self.error(selector.at, &selector.path, text, "");
                    return None;
                }
                SelectorFallback::Keys(fewer)
            }
            _ => SelectorFallback::AsTheCluster,
        };
        let single_host = selector.boolean("single_host_per_subset").unwrap_or(false);
        (!keys.is_empty()).then_some(Selector { keys, single_host, fallback })
    }
}
