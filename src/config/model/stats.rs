//! Owns the compiled `stats_config` and `--stats-tag`: which stats are shown, and in which dress.

use regex::Regex;
use understudy_actors::stats::BUCKETS;

use crate::matcher::TextMatcher;

/// `StatsConfig`.
#[derive(Clone, Debug)]
pub struct StatsRules {
    /// `use_all_default_tags`; Envoy's default is true.
    pub default_tags: bool,
    /// `--stats-tag` and `stats_tags`, in order.
    pub tags: Vec<TagRule>,
    /// `stats_matcher`.
    pub shown: Shown,
    /// `histogram_bucket_settings`: the first that matches a name counts.
    pub buckets: Vec<(TextMatcher, Vec<f64>)>,
    /// `stats_flush_on_admin`: intervals of histograms end when somebody looks.
    pub flush_on_admin: bool,
}

/// One tag of our own.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// `tag_name`.
    pub name: String,
    /// Where its value comes from.
    pub source: TagSource,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum TagSource {
    /// `fixed_value`.
    Fixed(String),
    /// `regex`: its first group is cut out of the name, its second is the value.
    Pattern(Regex),
    /// One of Envoy's own rules, turned on by its name.
    Default,
}

/// `StatsMatcher`.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// Every stat.
    #[default]
    All,
    /// `reject_all`.
    Nothing,
    /// `inclusion_list`.
    These(Vec<TextMatcher>),
    /// `exclusion_list`.
    AllBut(Vec<TextMatcher>),
}

// === impl StatsRules ===

impl Default for StatsRules {
    fn default() -> Self {
        Self {
            default_tags: true,
            tags: Vec::new(),
            shown: Shown::All,
            buckets: Vec::new(),
            flush_on_admin: false,
        }
    }
}

impl StatsRules {
    /// Whether a stat of this full name is shown.
    pub fn shows(&self, name: &str) -> bool {
        let among =
            |list: &[TextMatcher]| list.iter().any(|matcher| matcher.matches(name.as_bytes()));
        match &self.shown {
            Shown::All => true,
            Shown::Nothing => false,
            Shown::These(list) => among(list),
            Shown::AllBut(list) => !among(list),
        }
    }

    /// Upper bounds of the buckets of the histogram of this full name.
    pub fn buckets(&self, name: &str) -> &[f64] {
        let own = self.buckets.iter().find(|(matcher, _)| matcher.matches(name.as_bytes()));
        own.map_or(&BUCKETS, |(_, bounds)| bounds)
    }

    /// Whether what a tag cuts out depends on a stat's whole name, and not on its scope's kind alone.
    pub fn has_patterns(&self) -> bool {
        !self.default_tags || self.tags.iter().any(|tag| !matches!(tag.source, TagSource::Fixed(_)))
    }
}
