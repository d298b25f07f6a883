//! `/stats/prometheus`: the exposition format, with Envoy's names, tags and order.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use understudy_actors::stats::{
    self, AnyGroup, BUCKETS, HistogramReading, QUANTILES, Reading, Scope, Value,
};

use super::{Buckets, Run, Wanted, histogram};
use crate::numbers::general;

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
    extracted: String,
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
        run.into_iter().map(|group| Member::among(&mut families, group)).collect()
    };
    let runs: Vec<Vec<Member>> = runs.into_iter().map(&mut members).collect();
    let metrics: Vec<_> = index(&families, &wanted).into_iter().collect();
    Exposition { wanted, runs, metrics: metrics.into_iter(), now: None }
}

fn index(families: &[Family], wanted: &Wanted) -> Index {
    let mut index = Index::new();
    for (family, Family { extracted, defs }) in families.iter().enumerate() {
        for (at, def) in defs.iter().enumerate() {
            let kind = match def.kind {
                stats::Kind::Counter | stats::Kind::Codes if wanted.counters => Kind::Counter,
                stats::Kind::Gauge if wanted.gauges => Kind::Gauge,
                stats::Kind::Histogram if wanted.histograms => Kind::Histogram,
                _ => continue,
            };
            // Every status makes the same metric.
            let name = def.name.replace("{}", "200");
            let name = format!("{extracted}{}", own_tag(&name).0);
            index.entry((kind, name)).or_default().push((family, at));
        }
    }
    index
}

// === impl Member ===

impl Member {
    fn among(families: &mut Vec<Family>, group: Arc<dyn AnyGroup>) -> Self {
        let (extracted, defs) = (&group.scope().extracted, group.defs());
        let same =
            |family: &Family| std::ptr::eq(family.defs, defs) && family.extracted == *extracted;
        let family = families.iter().position(same).unwrap_or_else(|| {
            families.push(Family { extracted: extracted.clone(), defs });
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
        let metric = format!("envoy_{}", clean(extracted));
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
        for Row { labels, value, .. } in &rows {
            let metric = &self.metric;
            match value {
                RowValue::Number(value) => drop(writeln!(out, "{metric}{{{labels}}} {value}")),
                RowValue::Histogram(reading) => {
                    distribution(out, metric, labels, reading, wanted.buckets);
                }
            }
        }
    }

    fn row(&self, scope: &Scope, stat: &Reading<'_>, wanted: &Wanted) -> Option<Row> {
        let name = format!("{}{}", scope.prefix, stat.name);
        if !wanted.accepts(&name, stat.used) {
            return None;
        }
        let value = match stat.value {
            Value::Counter(value) | Value::Gauge(value) => RowValue::Number(value),
            Value::Histogram(reading) => RowValue::Histogram(reading.clone()),
        };
        Some(Row { name, labels: labels(scope, stat.name), value })
    }
}

/// A name without what it says of a status, and that as a tag.
/// Source: Envoy, "Tag extraction", `envoy.response_code` and `envoy.response_code_class`.
fn own_tag(name: &str) -> (String, Option<(&'static str, &str)>) {
    match name.rsplit_once("_rq_") {
        Some((before, code)) if code.len() == 3 => match code.as_bytes() {
            [b'0'..=b'9', b'x', b'x'] => {
                (format!("{before}_rq_xx"), Some(("envoy.response_code_class", &code[..1])))
            }
            digits if digits.iter().all(u8::is_ascii_digit) => {
                (format!("{before}_rq"), Some(("envoy.response_code", code)))
            }
            _ => (name.to_owned(), None),
        },
        _ => (name.to_owned(), None),
    }
}

/// What is cut out of a name; what the name itself says of a status comes first.
fn labels(scope: &Scope, name: &str) -> String {
    let mut out = String::new();
    let tags = scope.tags.iter().map(|(name, value)| (*name, value.as_str()));
    for (at, (name, value)) in own_tag(name).1.into_iter().chain(tags).enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.extend(name.chars().map(letter));
        out.push_str("=\"");
        escape(&mut out, value);
        out.push('"');
    }
    out
}

fn summarizes(buckets: Buckets) -> bool {
    matches!(buckets, Buckets::Summary | Buckets::None)
}

/// Letters, digits and `_` only.
fn clean(name: &str) -> String {
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
