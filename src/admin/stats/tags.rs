//! Owns what a stat is called by Prometheus: its labels, and what is left of its name without them.

use std::ops::Range;

use understudy_actors::stats::{Scope, cut_out};

use crate::config::model::stats::{StatsRules, TagSource};

/// A tag of one stat.
struct Found<'s> {
    name: &'s str,
    value: &'s str,
    /// Its place in the full name; none for a fixed value.
    cut: Option<Range<usize>>,
}

/// What is left of a stat's full name.
pub(super) fn rest(scope: &Scope, name: &str, rules: &StatsRules) -> String {
    let full = format!("{}{name}", scope.prefix);
    let cuts = found(scope, name, &full, rules).into_iter().filter_map(|tag| tag.cut).collect();
    cut_out(&full, cuts)
}

/// Its labels, as they stand between the braces.
pub(super) fn labels(scope: &Scope, name: &str, rules: &StatsRules) -> String {
    let full = format!("{}{name}", scope.prefix);
    let mut out = String::new();
    for tag in found(scope, name, &full, rules) {
        if !out.is_empty() {
            out.push(',');
        }
        out.extend(tag.name.chars().map(letter));
        out.push_str("=\"");
        escape(&mut out, tag.value);
        out.push('"');
    }
    out
}

/// Letters, digits and `_` only.
pub(super) fn clean(name: &str) -> String {
    name.chars().map(letter).collect()
}

fn letter(c: char) -> char {
    if c.is_ascii_alphanumeric() { c } else { '_' }
}

/// Source: Prometheus, "Text-based format", label values.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            plain => out.push(plain),
        }
    }
}

/// All tags in order: Envoy's rules that may hold anywhere in a name, then ours likewise, then those that hold
/// at its start.
///
/// Observed: Envoy 1.40, with `stats_tags` of each kind.
fn found<'s>(
    scope: &'s Scope,
    name: &'s str,
    full: &'s str,
    rules: &'s StatsRules,
) -> Vec<Found<'s>> {
    let fixed = |name: &str| {
        rules.tags.iter().any(|tag| tag.name == name && matches!(tag.source, TagSource::Fixed(_)))
    };
    let defaults = defaults(scope, name).into_iter().filter(|(_, tag)| !fixed(tag.name));
    let (mut anywhere, mut at_start) = (Vec::new(), Vec::new());
    let mut named = Vec::new();
    for (starts, tag) in defaults {
        match (rules.default_tags, starts) {
            (true, true) => at_start.push(tag),
            (true, false) => anywhere.push(tag),
            (false, starts) => named.push((starts, tag)),
        }
    }
    for rule in &rules.tags {
        let (starts, tag) = match &rule.source {
            TagSource::Fixed(value) => (false, Found { name: &rule.name, value, cut: None }),
            TagSource::Default => match named.iter().position(|(_, tag)| tag.name == rule.name) {
                Some(at) => named.swap_remove(at),
                None => continue,
            },
            TagSource::Pattern(regex) => {
                let Some(captures) = regex.captures(full) else { continue };
                let Some(whole) = captures.get(1) else { continue };
                let value = captures.get(2).unwrap_or(whole).as_str().trim_end_matches('.');
                let tag = Found { name: &rule.name, value, cut: Some(whole.range()) };
                (begins_with_token(regex.as_str()), tag)
            }
        };
        match starts {
            true => at_start.push(tag),
            false => anywhere.push(tag),
        }
    }
    anywhere.append(&mut at_start);
    let mut seen: Vec<&str> = Vec::new();
    anywhere.retain(|tag| {
        let fresh = !seen.contains(&tag.name);
        seen.push(tag.name);
        fresh
    });
    anywhere
}

/// Whether an expression begins with a whole name up to a dot: `^cluster\.`.
fn begins_with_token(pattern: &str) -> bool {
    let Some(rest) = pattern.strip_prefix('^') else { return false };
    let token =
        rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
    token > 0 && rest.get(token..).is_some_and(|rest| rest.starts_with("\\."))
}

/// What Envoy's own rules take, each with whether it holds at the start of a name.
fn defaults<'s>(scope: &'s Scope, name: &'s str) -> Vec<(bool, Found<'s>)> {
    let mut out = Vec::new();
    if let Some((tag, within)) = status_tag(name) {
        let (from, to) = (scope.prefix.len() + within.start, scope.prefix.len() + within.end);
        let value = name.get(within).unwrap_or_default().trim_start_matches('_');
        out.push((false, Found { name: tag, value, cut: Some(from..to) }));
    }
    if let Some((tag, from)) = algorithm_tag(scope, name) {
        let start = scope.prefix.len() + from;
        let cut = start - 1..scope.prefix.len() + name.len();
        let value = name.get(from..).unwrap_or_default();
        out.push((false, Found { name: tag, value, cut: Some(cut) }));
    }
    out.extend(scope.tags.iter().map(|tag| {
        let starts = tag.name != "envoy.worker_id";
        (starts, Found { name: tag.name, value: &tag.value, cut: Some(tag.cut.clone()) })
    }));
    out
}

/// What a name of TLS says of an algorithm, and from where on.
///
/// Source: Envoy, "Tag extraction", `envoy.ssl_cipher` and its kin.
fn algorithm_tag(scope: &Scope, name: &str) -> Option<(&'static str, usize)> {
    if !scope.prefix.ends_with(".ssl.") {
        return None;
    }
    let (kind, _) = name.split_once('.')?;
    let tag = match kind {
        "ciphers" => "envoy.ssl_cipher",
        "curves" => "envoy.ssl_curve",
        "sigalgs" => "envoy.ssl_sigalg",
        "versions" => "envoy.ssl_version",
        _ => return None,
    };
    Some((tag, kind.len() + 1))
}

/// What a name itself says of a status, and where.
///
/// Source: Envoy, "Tag extraction", `envoy.response_code` and `envoy.response_code_class`.
fn status_tag(name: &str) -> Option<(&'static str, Range<usize>)> {
    let (before, code) = name.rsplit_once("_rq_").filter(|(_, code)| code.len() == 3)?;
    let start = before.len() + "_rq_".len();
    match code.as_bytes() {
        [b'0'..=b'9', b'x', b'x'] => Some(("envoy.response_code_class", start..start + 1)),
        digits if digits.iter().all(u8::is_ascii_digit) => {
            Some(("envoy.response_code", start - 1..start + 3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::config::model::stats::TagRule;

    fn told(scope: &Scope, name: &str, rules: &StatsRules) -> String {
        format!("{}{{{}}}", clean(&rest(scope, name, rules)), labels(scope, name, rules))
    }

    fn rule(name: &str, source: TagSource) -> TagRule {
        TagRule { name: name.to_owned(), source }
    }

    fn fixed(name: &str, value: &str) -> TagRule {
        rule(name, TagSource::Fixed(value.to_owned()))
    }

    fn pattern(name: &str, text: &str) -> TagRule {
        rule(name, TagSource::Pattern(Regex::new(text).unwrap()))
    }

    #[test]
    fn labels_stand_in_envoys_order_and_are_cut_out_of_the_name() {
        let (a, server) = (Scope::cluster("a"), Scope::plain("server."));
        let listener = Scope::listener_worker("127.0.0.1:80", 0);
        let c1 = || pattern("c1", r"(?:cluster)\.((a)\.)");
        for (tags, default_tags, scope, name, expected) in [
            (
                vec![],
                true,
                &a,
                "upstream_rq_200",
                r#"cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="a"}"#,
            ),
            (
                vec![],
                true,
                &a,
                "upstream_rq_2xx",
                r#"cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"}"#,
            ),
            (vec![fixed("my.fix", "v 1")], true, &server, "live", r#"server_live{my_fix="v 1"}"#),
            (
                vec![fixed("my.fix", "v")],
                true,
                &listener,
                "downstream_cx_total",
                r#"listener_worker_downstream_cx_total{envoy_worker_id="0",my_fix="v",envoy_listener_address="127.0.0.1_80"}"#,
            ),
            (
                vec![
                    c1(),
                    fixed("fx", "F"),
                    pattern("c2", "((upstream)_)"),
                    pattern("c3", r"^cluster\.a\.upstream_((rq)_)"),
                ],
                true,
                &a,
                "upstream_rq_total",
                r#"cluster_total{c1="a",fx="F",c2="upstream",envoy_cluster_name="a",c3="rq"}"#,
            ),
            (
                vec![
                    fixed("f", "y"),
                    rule("envoy.cluster_name", TagSource::Default),
                    pattern("x", "((upstream)_)"),
                ],
                false,
                &a,
                "upstream_rq_200",
                r#"cluster_rq_200{f="y",x="upstream",envoy_cluster_name="a"}"#,
            ),
            (vec![], false, &a, "upstream_rq_200", "cluster_a_upstream_rq_200{}"),
            (
                vec![fixed("envoy.cluster_name", "q")],
                true,
                &a,
                "upstream_cx_total",
                r#"cluster_a_upstream_cx_total{envoy_cluster_name="q"}"#,
            ),
            (vec![pattern("all", r"^(server\.)")], true, &server, "live", r#"live{all="server"}"#),
            (
                vec![pattern("rx", r"^cluster\.a\.(upstream_)")],
                true,
                &a,
                "upstream_rq_total",
                r#"cluster_rq_total{envoy_cluster_name="a",rx="upstream_"}"#,
            ),
        ] {
            let rules = StatsRules { tags, default_tags, ..StatsRules::default() };
            assert_eq!(told(scope, name, &rules), expected);
        }
    }
}
