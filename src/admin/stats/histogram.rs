//! Owns how one histogram is printed: quantiles, buckets, or both in full.

use std::fmt::Write;

use understudy_actors::stats::{Bins, HistogramReading, QUANTILES};

use super::Buckets;
use crate::{
    admin::json::quote,
    numbers::{general, plain, shortest},
};

/// A histogram as a line, or as a few. Writing to a string does not fail.
pub(super) fn text(
    out: &mut String,
    name: &str,
    reading: &HistogramReading,
    buckets: Buckets,
    bounds: &[f64],
) {
    if reading.cumulative.is_empty() {
        let _ = writeln!(out, "{name}: No recorded values");
        return;
    }
    match buckets {
        Buckets::Cumulative | Buckets::Disjoint => {
            let _ = writeln!(out, "{name}: {}", bucket_text(reading, buckets, bounds));
        }
        Buckets::Detailed => {
            let _ = writeln!(out, "{name}:");
            let _ = writeln!(out, "  totals={}", bins_text(&reading.cumulative));
            let _ = writeln!(out, "  intervals={}", bins_text(&reading.interval));
            let _ = writeln!(out, "  summary={}", quantile_text(reading));
        }
        _ => {
            let _ = writeln!(out, "{name}: {}", quantile_text(reading));
        }
    }
}

fn quantile_text(reading: &HistogramReading) -> String {
    let one = |percent: &f64| {
        let [interval, cumulative] = [&reading.interval, &reading.cumulative]
            .map(|bins| plain(bins.quantile(percent / 100.0).unwrap_or(f64::NAN)));
        format!("P{}({interval},{cumulative})", general(*percent))
    };
    QUANTILES.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn bucket_text(reading: &HistogramReading, buckets: Buckets, bounds: &[f64]) -> String {
    let [interval, cumulative] =
        [&reading.interval, &reading.cumulative].map(|bins| counts(bins, bounds, buckets));
    let one = |((bound, interval), cumulative): ((&f64, u64), u64)| {
        format!("B{}({interval},{cumulative})", general(*bound))
    };
    let all = bounds.iter().zip(interval).zip(cumulative).map(one);
    all.collect::<Vec<_>>().join(" ")
}

fn bins_text(bins: &Bins) -> String {
    let one =
        |(low, width, count): (f64, f64, u64)| format!("{},{}:{count}", plain(low), plain(width));
    bins.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// How many values each bucket holds, together with those below it or alone.
pub(super) fn counts(bins: &Bins, bounds: &[f64], buckets: Buckets) -> Vec<u64> {
    let mut below = 0;
    let one = |bound: &f64| {
        let up_to = bins.count_at_most(*bound);
        // Bounds of the user's may stand in any order.
        let own = up_to.saturating_sub(below);
        match buckets {
            Buckets::Disjoint => {
                below = up_to;
                own
            }
            _ => up_to,
        }
    };
    bounds.iter().map(one).collect()
}

/// The histograms' part of the JSON: what stands before the first of them.
pub(super) fn json_open(buckets: Buckets) -> String {
    let percents: Vec<String> = QUANTILES.iter().map(|percent| shortest(*percent)).collect();
    let percents = percents.join(",");
    match buckets {
        Buckets::Cumulative | Buckets::Disjoint => "{\"histograms\":[".to_owned(),
        Buckets::Detailed => {
            format!("{{\"histograms\":{{\"supported_percentiles\":[{percents}],\"details\":[")
        }
        _ => format!(
            "{{\"histograms\":{{\"supported_quantiles\":[{percents}],\"computed_quantiles\":["
        ),
    }
}

/// What stands after the last.
pub(super) fn json_close(buckets: Buckets) -> &'static str {
    match buckets {
        Buckets::Cumulative | Buckets::Disjoint => "]}",
        _ => "]}}",
    }
}

/// One histogram in JSON.
pub(super) fn json(
    out: &mut String,
    name: &str,
    reading: &HistogramReading,
    buckets: Buckets,
    bounds: &[f64],
) {
    out.push_str("{\"name\":");
    quote(out, name);
    match buckets {
        Buckets::Cumulative | Buckets::Disjoint => {
            let [interval, cumulative] =
                [&reading.interval, &reading.cumulative].map(|bins| counts(bins, bounds, buckets));
            let one = |((bound, interval), cumulative): ((&f64, u64), u64)| {
                format!(
                    "{{\"upper_bound\":{},\"interval\":{interval},\"cumulative\":{cumulative}}}",
                    shortest(*bound)
                )
            };
            let all: Vec<String> = bounds.iter().zip(interval).zip(cumulative).map(one).collect();
            let _ = write!(out, ",\"buckets\":[{}]}}", all.join(","));
        }
        Buckets::Detailed => {
            let _ = write!(
                out,
                ",\"totals\":[{}],\"intervals\":[{}],\"percentiles\":[{}]}}",
                bins_json(&reading.cumulative),
                bins_json(&reading.interval),
                quantiles_json(reading)
            );
        }
        _ => {
            let _ = write!(out, ",\"values\":[{}]}}", quantiles_json(reading));
        }
    }
}

fn quantiles_json(reading: &HistogramReading) -> String {
    let one = |percent: &f64| {
        let [cumulative, interval] = [&reading.cumulative, &reading.interval]
            .map(|bins| bins.quantile(percent / 100.0).map_or_else(|| "null".to_owned(), shortest));
        format!("{{\"cumulative\":{cumulative},\"interval\":{interval}}}")
    };
    QUANTILES.iter().map(one).collect::<Vec<_>>().join(",")
}

fn bins_json(bins: &Bins) -> String {
    let one = |(low, width, count): (f64, f64, u64)| {
        let (low, width) = (shortest(low), shortest(width));
        format!("{{\"lower_bound\":{low},\"width\":{width},\"count\":{count}}}")
    };
    bins.iter().map(one).collect::<Vec<_>>().join(",")
}
