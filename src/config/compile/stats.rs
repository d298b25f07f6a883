//! Owns compiling `stats_config` and what else a bootstrap says about stats.

use std::time::Duration;

use regex::Regex;
use understudy_actors::plan::StatsFlush;

use super::Compiler;
use crate::config::{
    Message,
    model::stats::{Shown, StatsRules, TagRule, TagSource},
};

/// Envoy's default `stats_flush_interval`.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// Tags that Envoy's own rules make, of those stats that are here.
const DEFAULT_TAGS: [&str; 6] = [
    "envoy.response_code",
    "envoy.response_code_class",
    "envoy.cluster_name",
    "envoy.http_conn_manager_prefix",
    "envoy.worker_id",
    "envoy.listener_address",
];

impl Compiler<'_> {
    pub(super) fn stats(&mut self, bootstrap: &Message) -> StatsRules {
        let mut rules = StatsRules::default();
        for (name, value) in &self.options.stats_tags {
            push(
                &mut rules,
                TagRule { name: name.clone(), source: TagSource::Fixed(value.clone()) },
            );
        }
        self.flushing(bootstrap, &mut rules);
        let Some(config) = bootstrap.message("stats_config") else { return rules };
        rules.default_tags = config.boolean("use_all_default_tags").unwrap_or(true);
        for tag in config.messages("stats_tags") {
            if let Some(rule) = self.tag_rule(tag, rules.default_tags)
                && !push(&mut rules, rule)
            {
                let text = format!(
                    "Skipping duplicate tag for {}",
                    tag.text("tag_name").unwrap_or_default()
                );
                self.notes.warning(tag.at, &tag.path, text, "");
            }
        }
        if let Some(matcher) = config.message("stats_matcher") {
            rules.shown = self.shown(matcher);
        }
        for settings in config.messages("histogram_bucket_settings") {
            settings.ignore(
                "bins",
                "a hint of how much room to keep; bins here are made as they are needed",
            );
            let bounds = settings.doubles("buckets");
            let matcher = settings.message("match").and_then(|matcher| self.text_matcher(matcher));
            if let Some(matcher) = matcher.filter(|_| !bounds.is_empty()) {
                rules.buckets.push((matcher, bounds));
            }
        }
        rules
    }

    /// Observed: Envoy 1.40, the texts of each mistake.
    fn flushing(&mut self, bootstrap: &Message, rules: &mut StatsRules) {
        rules.flush_on_admin = flush(bootstrap) == StatsFlush::OnAdmin;
        let interval = bootstrap.duration("stats_flush_interval");
        if rules.flush_on_admin && interval.is_some() {
            let text = "Only one of stats_flush_interval or stats_flush_on_admin should be set!";
            let field = "stats_flush_on_admin";
            self.error(bootstrap.at_of(field), &bootstrap.path_of(field), text, "");
        }
        let field = "stats_eviction_interval";
        if let Some(eviction) = bootstrap.duration(field) {
            // Stats of what is gone go with it here; there is nothing to evict.
            let flush = interval.unwrap_or(FLUSH_INTERVAL).as_nanos().max(1);
            if eviction.as_nanos() % flush != 0 {
                let text = "stats_eviction_interval must be a multiple of stats_flush_interval";
                self.error(bootstrap.at_of(field), &bootstrap.path_of(field), text, "");
            }
        }
    }

    fn tag_rule(&mut self, tag: &Message, defaults: bool) -> Option<TagRule> {
        let name = tag.text("tag_name").unwrap_or_default().to_owned();
        let known = DEFAULT_TAGS.contains(&name.as_str());
        if let Some(value) = tag.text("fixed_value") {
            return Some(TagRule { name, source: TagSource::Fixed(value.to_owned()) });
        }
        let pattern = tag.text("regex").filter(|pattern| !pattern.is_empty());
        let mut refuse = |text: String, hint: &str| {
            self.error(tag.at, &tag.path, text, hint);
            None
        };
        match pattern {
            _ if name.is_empty() => refuse("tag_name cannot be empty".to_owned(), "give it a name"),
            None if known => Some(TagRule { name, source: TagSource::Default }),
            None => refuse(
                format!(
                    "No regex specified for tag specifier and no default regex for name: '{name}'"
                ),
                "give it a `regex` or a `fixed_value`",
            ),
            // Envoy's own rule stays in force.
            Some(_) if known && defaults => Some(TagRule { name, source: TagSource::Default }),
            Some(pattern) => match Regex::new(pattern) {
                Ok(regex) => Some(TagRule { name, source: TagSource::Pattern(regex) }),
                Err(error) => {
                    let error = error.to_string();
                    let why = error.lines().last().unwrap_or_default().trim();
                    refuse(format!("Invalid regex '{pattern}': {why}"), "")
                }
            },
        }
    }

    fn shown(&mut self, matcher: &Message) -> Shown {
        if let Some(reject) = matcher.boolean("reject_all") {
            return if reject { Shown::Nothing } else { Shown::All };
        }
        let mut list = |name: &str| {
            let patterns = matcher.message(name)?.messages("patterns");
            Some(patterns.filter_map(|pattern| self.text_matcher(pattern)).collect())
        };
        if let Some(patterns) = list("inclusion_list") {
            return Shown::These(patterns);
        }
        list("exclusion_list").map_or(Shown::All, Shown::AllBut)
    }
}

/// When stats are flushed.
pub(super) fn flush(bootstrap: &Message) -> StatsFlush {
    match bootstrap.boolean("stats_flush_on_admin").unwrap_or(false) {
        true => StatsFlush::OnAdmin,
        false => {
            bootstrap.duration("stats_flush_interval").map(StatsFlush::Every).unwrap_or_default()
        }
    }
}

/// Adds a rule, unless there is one of its name: then it is the first that counts. Says whether it was added.
fn push(rules: &mut StatsRules, rule: TagRule) -> bool {
    let on_already = rules.default_tags && matches!(rule.source, TagSource::Default);
    let fixed = |rule: &TagRule| matches!(rule.source, TagSource::Fixed(_));
    let twice = fixed(&rule) && rules.tags.iter().any(|known| known.name == rule.name);
    let fresh = !on_already && !twice;
    if fresh {
        rules.tags.push(rule);
    }
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, compile};

    fn rules(yaml: &str) -> Result<StatsRules, String> {
        let source = Source::yaml("t.yaml", yaml);
        let slots = compile::AllSlots::default();
        match compile::load(&source, &compile::Options::default(), &slots) {
            Ok(compiled) => Ok(compiled.stats),
            Err(errors) => Err(errors.render(&source)),
        }
    }

    #[test]
    fn mistakes_are_told_in_envoys_words() {
        for (yaml, told) in [
            (
                "stats_config: {stats_tags: [{tag_name: foo.bar}]}",
                "no default regex for name: 'foo.bar'",
            ),
            ("stats_config: {stats_tags: [{regex: a}]}", "tag_name cannot be empty"),
            ("stats_config: {stats_tags: [{tag_name: a, regex: '(('}]}", "Invalid regex '(('"),
            (
                "{stats_flush_interval: 1s, stats_flush_on_admin: true}",
                "Only one of stats_flush_interval",
            ),
            ("stats_eviction_interval: 7s", "must be a multiple of stats_flush_interval"),
        ] {
            let refused = rules(yaml).unwrap_err();
            assert!(refused.contains(told), "{yaml}: {refused}");
        }
    }

    #[test]
    fn stats_are_shown_by_their_names() {
        let list = |kind: &str, pattern: &str| {
            rules(&format!(
                "stats_config: {{stats_matcher: {{{kind}: {{patterns: [{pattern}]}}}}}}"
            ))
            .unwrap()
        };
        let (included, excluded) = (
            list("inclusion_list", "{prefix: cluster.a.}"),
            list("exclusion_list", "{suffix: _time}"),
        );
        for (name, by_first, by_second) in [
            ("cluster.a.upstream_rq_time", true, false),
            ("cluster.a.upstream_rq_total", true, true),
            ("server.live", false, true),
        ] {
            assert_eq!(
                (included.shows(name), excluded.shows(name)),
                (by_first, by_second),
                "{name}"
            );
        }
        let nothing = rules("stats_config: {stats_matcher: {reject_all: true}}").unwrap();
        assert!(!nothing.shows("server.live"));
    }

    #[test]
    fn the_first_setting_that_matches_a_name_gives_its_buckets() {
        let yaml = "stats_config: {histogram_bucket_settings: [{match: {prefix: cluster.a}, buckets: [7]}, \
                    {match: {prefix: cluster}, buckets: [1, 2.5]}, {match: {prefix: http}}]}";
        let rules = rules(yaml).unwrap();
        assert_eq!(rules.buckets("cluster.a.upstream_rq_time"), [7.0]);
        assert_eq!(rules.buckets("cluster.b.upstream_rq_time"), [1.0, 2.5]);
        assert_eq!(rules.buckets("http.in.downstream_rq_time").len(), 19);
    }
}
