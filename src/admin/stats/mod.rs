//! `/stats` and `/stats/prometheus`: what is asked for, and in which order. Each form has a file.

mod histogram;
mod json;
mod prometheus;
mod tags;
mod text;

use std::sync::Arc;

use regex::bytes::Regex;
use understudy_actors::stats::{AnyGroup, HistogramReading, Registry, Value};

use super::{Answer, Ask, Desk, answer, home};
use crate::{
    config::model::stats::StatsRules,
    re2::{self, Extent},
};

/// What somebody wants to see.
#[derive(Clone)]
pub(super) struct Wanted {
    used_only: bool,
    filter: Option<Regex>,
    invert: bool,
    counters: bool,
    gauges: bool,
    histograms: bool,
    texts: bool,
    /// `text_readouts`: Prometheus is told of texts.
    reads_texts: bool,
    buckets: Buckets,
    rules: Arc<StatsRules>,
}

/// How histograms are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buckets {
    Unset,
    Cumulative,
    Disjoint,
    Detailed,
    Summary,
    /// As `summary`.
    None,
    PrometheusNative,
}

/// The form of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Html,
    ActiveHtml,
    Prometheus,
}

/// Groups whose names stand together when all names are sorted: one prefix, and those it begins.
type Run = Vec<Arc<dyn AnyGroup>>;

pub(super) fn stats(desk: &Desk, ask: &Ask) -> Answer {
    stats_of(&desk.view.registry, &desk.facts.stats, ask)
}

pub(super) fn prometheus(desk: &Desk, ask: &Ask) -> Answer {
    prometheus_of(&desk.view.registry, &desk.facts.stats, ask)
}

fn stats_of(registry: &Registry, rules: &Arc<StatsRules>, ask: &Ask) -> Answer {
    let (wanted, format) = match read(ask, rules).and_then(|wanted| Ok((wanted, read_format(ask)?)))
    {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    if format != Format::Prometheus && wanted.buckets == Buckets::PrometheusNative {
        let text = "Invalid histogram_buckets type for non prometheus stats type";
        return Answer::status(400, text);
    }
    let runs = runs(registry.groups());
    match format {
        Format::Text => Answer::pieces(answer::TEXT, text::lines(runs, wanted)),
        Format::Json => Answer::pieces(answer::JSON, json::line(runs, wanted)),
        Format::Html | Format::ActiveHtml => {
            let text = Answer::pieces(answer::TEXT, text::lines(runs, wanted)).into_text();
            Answer::html(home::stats(ask, &text, format == Format::ActiveHtml))
        }
        Format::Prometheus => metrics(runs, wanted),
    }
}

fn prometheus_of(registry: &Registry, rules: &Arc<StatsRules>, ask: &Ask) -> Answer {
    match read(ask, rules) {
        Ok(wanted) => metrics(runs(registry.groups()), wanted),
        Err(refused) => refused,
    }
}

fn metrics(runs: Vec<Run>, wanted: Wanted) -> Answer {
    match wanted.buckets {
        Buckets::Unset | Buckets::Cumulative | Buckets::Summary | Buckets::None => {
            // Prometheus is told of every kind, whatever `type` says.
            let (counters, gauges, histograms, texts) = (true, true, true, wanted.reads_texts);
            let wanted = Wanted { counters, gauges, histograms, texts, ..wanted };
            Answer::pieces(answer::TEXT, prometheus::metrics(runs, wanted))
        }
        Buckets::PrometheusNative => Answer::status(
            400,
            "unsupported prometheusnative histogram type when not using protobuf exposition format",
        ),
        _ => Answer::status(400, "unsupported prometheus histogram bucket mode"),
    }
}

/// Errors are Envoy's. Observed: Envoy 1.40.
fn read(ask: &Ask, rules: &Arc<StatsRules>) -> Result<Wanted, Answer> {
    let filter = match ask.param("filter").filter(|filter| !filter.is_empty()) {
        Some(filter) => Some(
            re2::compile(filter, Extent::Part)
                .map_err(|why| Answer::status(400, format!("Invalid re2 regex: {why}")))?,
        ),
        None => None,
    };
    let buckets = match ask.param("histogram_buckets") {
        None | Some("") => Buckets::Unset,
        Some("cumulative") => Buckets::Cumulative,
        Some("disjoint") => Buckets::Disjoint,
        Some("detailed") => Buckets::Detailed,
        Some("summary") => Buckets::Summary,
        Some("none") => Buckets::None,
        Some("prometheusnative") => Buckets::PrometheusNative,
        Some(_) => {
            return Err(Answer::status(
                400,
                "usage: /stats?histogram_buckets=\
                 (cumulative|disjoint|detailed|summary|prometheusnative)\n",
            ));
        }
    };
    // No stat is hidden here.
    let kinds = match ask.param("type") {
        None | Some("" | "All") => [true; 4],
        Some("Counters") => [true, false, false, false],
        Some("Gauges") => [false, true, false, false],
        Some("Histograms") => [false, false, true, false],
        Some("TextReadouts") => [false, false, false, true],
        Some(_) => return Err(Answer::status(400, "invalid &type= param")),
    };
    let [counters, gauges, histograms, texts] = match ask.param("hidden") {
        None | Some("" | "include" | "exclude") => kinds,
        Some("only") => [false; 4],
        Some(_) => {
            return Err(Answer::status(400, "usage: /stats?hidden=(include|only|exclude)\n\n"));
        }
    };
    let (used_only, invert) = (ask.has("usedonly"), ask.has("invert_filter"));
    if invert && filter.is_none() {
        let text = "invert_filter can only be used if filter is also provided";
        return Err(Answer::status(400, text));
    }
    let rules = rules.clone();
    let reads_texts = ask.has("text_readouts");
    Ok(Wanted {
        used_only,
        filter,
        invert,
        counters,
        gauges,
        histograms,
        texts,
        reads_texts,
        buckets,
        rules,
    })
}

fn read_format(ask: &Ask) -> Result<Format, Answer> {
    match ask.param("format") {
        None | Some("" | "text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some("html") => Ok(Format::Html),
        Some("active-html") => Ok(Format::ActiveHtml),
        Some("prometheus") => Ok(Format::Prometheus),
        Some(_) => Err(Answer::status(
            400,
            "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n",
        )),
    }
}

/// Puts groups together that must be sorted together; the runs themselves stand in order.
fn runs(groups: Vec<Arc<dyn AnyGroup>>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for group in groups {
        let joins = runs
            .last()
            .and_then(|run| run.first())
            .is_some_and(|first| group.scope().prefix.starts_with(&first.scope().prefix));
        match runs.last_mut() {
            Some(run) if joins => run.push(group),
            _ => runs.push(vec![group]),
        }
    }
    runs
}

/// What is written next.
enum Step {
    Open,
    Texts(Run),
    Numbers(Run),
    Histograms(Run),
    Close,
}

/// Texts by name, then numbers by name, then histograms by name, a run at a time.
fn steps(runs: Vec<Run>) -> Vec<Step> {
    let texts: Vec<Step> = runs.iter().cloned().map(Step::Texts).collect();
    let histograms: Vec<Step> = runs.iter().cloned().map(Step::Histograms).collect();
    let numbers = runs.into_iter().map(Step::Numbers);
    [Step::Open]
        .into_iter()
        .chain(texts)
        .chain(numbers)
        .chain(histograms)
        .chain([Step::Close])
        .collect()
}

// === impl Wanted ===

impl Wanted {
    fn accepts(&self, name: &str, used: bool) -> bool {
        let matches = self.filter.as_ref().is_none_or(|filter| filter.is_match(name.as_bytes()));
        (used || !self.used_only) && (matches != self.invert) && self.rules.shows(name)
    }

    /// Counters and gauges of a run, by name.
    fn numbers(&self, run: &Run) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        for group in run {
            group.visit(&mut |stat| {
                let value = match stat.value {
                    Value::Counter(value) if self.counters => value,
                    Value::Gauge(value) if self.gauges => value,
                    _ => return,
                };
                let name = format!("{}{}", group.scope().prefix, stat.name);
                if self.accepts(&name, stat.used) {
                    out.push((name, value));
                }
            });
        }
        out.sort();
        out
    }

    /// Texts of a run, by name.
    fn texts(&self, run: &Run) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for group in run.iter().filter(|_| self.texts) {
            group.visit(&mut |stat| {
                if let Value::Text(text) = stat.value {
                    let name = format!("{}{}", group.scope().prefix, stat.name);
                    if self.accepts(&name, stat.used) {
                        out.push((name, text.to_owned()));
                    }
                }
            });
        }
        out.sort();
        out
    }

    /// Histograms of a run, by name.
    fn distributions(&self, run: &Run) -> Vec<(String, HistogramReading)> {
        let mut out = Vec::new();
        for group in run.iter().filter(|_| self.histograms) {
            group.visit(&mut |stat| {
                if let Value::Histogram(reading) = stat.value {
                    let name = format!("{}{}", group.scope().prefix, stat.name);
                    if self.accepts(&name, stat.used) {
                        out.push((name, reading.clone()));
                    }
                }
            });
        }
        out.sort_by(|(a, _), (b, _)| a.cmp(b));
        out
    }
}

#[cfg(test)]
mod tests;
