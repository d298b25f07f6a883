//! `/stats/prometheus`: the exposition format, with Envoy's names, tags and order.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use understudy_actors::stats::{
    self, AnyGroup, HistogramReading, QUANTILES, Reading, Scope, Value,
};

use super::{Buckets, Run, Wanted, histogram, tags};
use crate::{
    config::model::stats::StatsRules,
    numbers::{general, whole},
};

/// Bytes at which a piece ends: one metric of a thousand clusters is much more.
const PIECE_BYTES: usize = 16 * 1024;

/// What a metric is. Their order is the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Where a metric has its rows from: a family of groups, and the place in what these have.
type Source = (usize, usize);

/// Metrics by their names before these are cleaned: so `cluster.` comes before `cluster_manager.`, as in
/// Envoy.
type Index = BTreeMap<(Kind, String), Vec<Source>>;

/// Groups that make the same metrics. There are few of them, however many clusters there are.
struct Family {
    /// Of the first of them.
    scope: Scope,
    defs: &'static [stats::Def],
}

/// A group, and its family.
struct Member {
    group: Arc<dyn AnyGroup>,
    family: usize,
}

/// The text, told as it is asked for. Names, labels and values are made when their row is written, so a
/// slow reader holds an index of metrics, and no row.
struct Exposition {
    wanted: Wanted,
    runs: Vec<Vec<Member>>,
    metrics: std::vec::IntoIter<((Kind, String), Vec<Source>)>,
    now: Option<Telling>,
}

/// A metric that is being told.
struct Telling {
    kind: Kind,
    sources: Vec<Source>,
    /// Its name as it is written; its type is told with its first row.
    metric: String,
    headed: bool,
    /// Position in the runs.
    run: usize,
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

/// All metrics, piece by piece.
pub(super) fn metrics(
    runs: Vec<Run>,
    wanted: Wanted,
) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let mut families = Vec::new();
    let mut members = |run: Run| -> Vec<Member> {
        run.into_iter().map(|group| Member::among(&mut families, group, &wanted.rules)).collect()
    };
    let runs: Vec<Vec<Member>> = runs.into_iter().map(&mut members).collect();
    let metrics: Vec<_> = index(&families, &wanted).into_iter().collect();
    Exposition { wanted, runs, metrics: metrics.into_iter(), now: None }
}

fn index(families: &[Family], wanted: &Wanted) -> Index {
    let mut index = Index::new();
    for (family, Family { scope, defs }) in families.iter().enumerate() {
        for (at, def) in defs.iter().enumerate() {
            let kind = match def.kind {
                stats::Kind::Counter | stats::Kind::Codes if wanted.counters => Kind::Counter,
                stats::Kind::Gauge if wanted.gauges => Kind::Gauge,
                // A text is a label of a gauge that is 0.
                stats::Kind::Text if wanted.texts => Kind::Gauge,
                stats::Kind::Histogram if wanted.histograms => Kind::Histogram,
                _ => continue,
            };
            // Every status makes the same metric.
            let name = def.name.replace("{}", "200");
            let name = tags::rest(scope, &name, &wanted.rules);
            if name.is_empty() {
                continue;
            }
            index.entry((kind, name)).or_default().push((family, at));
        }
    }
    index
}

// === impl Member ===

impl Member {
    fn among(families: &mut Vec<Family>, group: Arc<dyn AnyGroup>, rules: &StatsRules) -> Self {
        let (scope, defs) = (group.scope(), group.defs());
        // Where a tag may take anything from a name, no two groups are alike.
        let alike = |known: &Scope| match rules.has_patterns() {
            true => known.prefix == scope.prefix,
            false => known.extracted == scope.extracted,
        };
        let same = |family: &Family| std::ptr::eq(family.defs, defs) && alike(&family.scope);
        let family = families.iter().position(same).unwrap_or_else(|| {
            families.push(Family { scope: scope.clone(), defs });
            families.len() - 1
        });
        Self { group, family }
    }
}

// === impl Exposition ===

impl Iterator for Exposition {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = String::new();
        while out.len() < PIECE_BYTES {
            match &mut self.now {
                Some(telling) if telling.run < self.runs.len() => {
                    telling.tell(&mut out, &self.runs[telling.run], &self.wanted);
                    telling.run += 1;
                }
                _ => match self.metrics.next() {
                    Some(((kind, extracted), sources)) => {
                        self.now = Some(Telling::begin(kind, &extracted, sources));
                    }
                    None => break,
                },
            }
        }
        (!out.is_empty()).then(|| out.into_bytes())
    }
}

// === impl Telling ===

impl Telling {
    fn begin(kind: Kind, extracted: &str, sources: Vec<Source>) -> Self {
        let metric = format!("envoy_{}", tags::clean(extracted));
        Self { kind, sources, metric, headed: false, run: 0 }
    }

    /// Writes the rows of one run. Names of a run come before those of the next.
    fn tell(&mut self, out: &mut String, run: &[Member], wanted: &Wanted) {
        let mut rows = Vec::new();
        for Member { group, family } in run {
            for (_, at) in self.sources.iter().filter(|(source, _)| source == family) {
                group.visit_one(*at, &mut |stat| {
                    rows.extend(self.row(group.scope(), &stat, wanted))
                });
            }
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        if !rows.is_empty() && !self.headed {
            self.headed = true;
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram if summarizes(wanted.buckets) => "summary",
                Kind::Histogram => "histogram",
            };
            // Writing to a string does not fail.
            let _ = writeln!(out, "# TYPE {} {kind}", self.metric);
        }
        for Row { name, labels, value } in &rows {
            let metric = &self.metric;
            match value {
                RowValue::Number(value) => drop(writeln!(out, "{metric}{{{labels}}} {value}")),
                RowValue::Histogram(reading) => {
                    let bounds = wanted.rules.buckets(name);
                    distribution(out, metric, labels, reading, wanted.buckets, bounds);
                }
            }
        }
    }

    fn row(&self, scope: &Scope, stat: &Reading<'_>, wanted: &Wanted) -> Option<Row> {
        let name = format!("{}{}", scope.prefix, stat.name);
        if !wanted.accepts(&name, stat.used) {
            return None;
        }
        let mut labels = tags::labels(scope, stat.name, &wanted.rules);
        let value = match stat.value {
            Value::Counter(value) | Value::Gauge(value) => RowValue::Number(value),
            Value::Histogram(reading) => RowValue::Histogram(reading.clone()),
            Value::Text(text) => {
                labels.push_str(if labels.is_empty() { "" } else { "," });
                let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                labels.push_str(&format!("text_value=\"{text}\""));
                RowValue::Number(0)
            }
        };
        Some(Row { name, labels, value })
    }
}

fn summarizes(buckets: Buckets) -> bool {
    matches!(buckets, Buckets::Summary | Buckets::None)
}

fn distribution(
    out: &mut String,
    metric: &str,
    labels: &str,
    reading: &HistogramReading,
    buckets: Buckets,
    bounds: &[f64],
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
            let (quantile, value) = (general(percent / 100.0), whole(value));
            let _ = writeln!(out, "{metric}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
        }
    } else {
        for (bound, count) in
            bounds.iter().zip(histogram::counts(bins, bounds, Buckets::Cumulative))
        {
            let bound = whole(*bound);
            let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", bins.count());
    }
    let _ = writeln!(out, "{metric}_sum{{{labels}}} {}", bins.sum());
    let _ = writeln!(out, "{metric}_count{{{labels}}} {}", bins.count());
}
