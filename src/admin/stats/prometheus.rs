//! `/stats/prometheus`: the exposition format, with Envoy's names, tags and order.

use std::{collections::BTreeMap, fmt::Write};

use understudy_actors::stats::{BUCKETS, HistogramReading, QUANTILES, Scope, Value};

use super::{Buckets, Run, Wanted, histogram};
use crate::numbers::general;

/// What a metric is. Their order is the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One stat of a metric.
struct Row {
    /// Its full name, by which rows of a metric are sorted.
    name: String,
    labels: String,
    value: RowValue,
}

enum RowValue {
    Number(u64),
    Histogram(HistogramReading),
}

/// All metrics, each a piece.
pub(super) fn metrics(
    runs: Vec<Run>,
    wanted: &Wanted,
) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let buckets = wanted.buckets;
    gather(&runs, wanted).into_iter().map(move |((kind, extracted), mut rows)| {
        let metric = format!("envoy_{}", clean(&extracted));
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let mut out = String::new();
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram if summarizes(buckets) => "summary",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "# TYPE {metric} {kind_name}");
        for Row { labels, value, .. } in &rows {
            match value {
                RowValue::Number(value) => drop(writeln!(out, "{metric}{{{labels}}} {value}")),
                RowValue::Histogram(reading) => {
                    distribution(&mut out, &metric, labels, reading, buckets);
                }
            }
        }
        out.into_bytes()
    })
}

/// Metrics by their names before these are cleaned: so `cluster.` comes before `cluster_manager.`, as in
/// Envoy.
fn gather(runs: &[Run], wanted: &Wanted) -> BTreeMap<(Kind, String), Vec<Row>> {
    let mut metrics: BTreeMap<(Kind, String), Vec<Row>> = BTreeMap::new();
    for group in runs.iter().flatten() {
        let scope = group.scope();
        group.visit(&mut |stat| {
            let (kind, value) = match stat.value {
                Value::Counter(value) if wanted.counters => {
                    (Kind::Counter, RowValue::Number(value))
                }
                Value::Gauge(value) if wanted.gauges => (Kind::Gauge, RowValue::Number(value)),
                Value::Histogram(reading) if wanted.histograms => {
                    (Kind::Histogram, RowValue::Histogram(reading.clone()))
                }
                _ => return,
            };
            let name = format!("{}{}", scope.prefix, stat.name);
            if wanted.accepts(&name, stat.used) {
                let (extracted, labels) = extract(scope, stat.name);
                metrics.entry((kind, extracted)).or_default().push(Row { name, labels, value });
            }
        });
    }
    metrics
}

/// The name with its tags cut out, and these as labels. What the name itself says of a status becomes the first label.
/// Source: Envoy, "Tag extraction", `envoy.response_code` and `envoy.response_code_class`.
fn extract(scope: &Scope, name: &str) -> (String, String) {
    let (own, tag) = match name.rsplit_once("_rq_") {
        Some((before, code)) if code.len() == 3 => match code.as_bytes() {
            [class @ b'0'..=b'9', b'x', b'x'] => {
                let class = char::from(*class).to_string();
                (format!("{before}_rq_xx"), Some(("envoy.response_code_class", class)))
            }
            digits if digits.iter().all(u8::is_ascii_digit) => {
                (format!("{before}_rq"), Some(("envoy.response_code", code.to_owned())))
            }
            _ => (name.to_owned(), None),
        },
        _ => (name.to_owned(), None),
    };
    let tags = tag.iter().map(|(name, value)| (*name, value.as_str()));
    let tags = tags.chain(scope.tags.iter().map(|(name, value)| (*name, value.as_str())));
    let labels: Vec<String> =
        tags.map(|(name, value)| format!("{}=\"{}\"", clean(name), escaped(value))).collect();
    (format!("{}{own}", scope.extracted), labels.join(","))
}

fn summarizes(buckets: Buckets) -> bool {
    matches!(buckets, Buckets::Summary | Buckets::None)
}

/// Letters, digits and `_` only.
fn clean(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(letter).collect()
}

/// Source: Prometheus, "Text-based format", label values.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn distribution(
    out: &mut String,
    metric: &str,
    labels: &str,
    reading: &HistogramReading,
    buckets: Buckets,
) {
    // A summary tells of the last interval, as Envoy's does.
    let bins = match buckets {
        Buckets::Summary | Buckets::None => &reading.interval,
        _ => &reading.cumulative,
    };
    let comma = if labels.is_empty() { "" } else { "," };
    // Writing to a string does not fail.
    if summarizes(buckets) {
        for percent in QUANTILES {
            let value = bins.quantile(percent / 100.0).unwrap_or(f64::NAN);
            let (quantile, value) = (general(percent / 100.0), general(value));
            let _ = writeln!(out, "{metric}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
        }
    } else {
        for (bound, count) in BUCKETS.iter().zip(histogram::counts(bins, Buckets::Cumulative)) {
            let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", bins.count());
    }
    let _ = writeln!(out, "{metric}_sum{{{labels}}} {}", bins.sum());
    let _ = writeln!(out, "{metric}_count{{{labels}}} {}", bins.count());
}
