//! `/stats?format=json`: one line.

use std::fmt::Write as _;

use super::{Run, Step, Wanted, histogram, steps};
use crate::admin::json::quote;

/// How far the line is.
#[derive(Default)]
struct Place {
    entries: bool,
    histograms: bool,
}

/// Stats as one line of JSON.
pub(super) fn line(
    runs: Vec<Run>,
    wanted: Wanted,
) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let mut place = Place::default();
    let pieces = steps(runs).into_iter().map(move |step| {
        let mut out = String::new();
        match step {
            Step::Open => out.push_str("{\"stats\":["),
            Step::Texts(run) => {
                for (name, text) in wanted.texts(&run) {
                    place.comma(&mut out);
                    out.push_str("{\"name\":");
                    quote(&mut out, &name);
                    out.push_str(",\"value\":");
                    quote(&mut out, &text);
                    out.push('}');
                }
            }
            Step::Numbers(run) => {
                for (name, value) in wanted.numbers(&run) {
                    place.comma(&mut out);
                    out.push_str("{\"name\":");
                    quote(&mut out, &name);
                    // Writing to a string does not fail.
                    let _ = write!(out, ",\"value\":{value}}}");
                }
            }
            Step::Histograms(run) => {
                for (name, reading) in wanted.distributions(&run) {
                    if !place.histograms {
                        place.comma(&mut out);
                        out.push_str(&histogram::json_open(wanted.buckets));
                    } else {
                        out.push(',');
                    }
                    place.histograms = true;
                    let bounds = wanted.rules.buckets(&name);
                    histogram::json(&mut out, &name, &reading, wanted.buckets, bounds);
                }
            }
            Step::Close => {
                if place.histograms {
                    out.push_str(histogram::json_close(wanted.buckets));
                }
                out.push_str("]}");
            }
        }
        out.into_bytes()
    });
    pieces.filter(|piece| !piece.is_empty())
}

// === impl Place ===

impl Place {
    fn comma(&mut self, out: &mut String) {
        if self.entries {
            out.push(',');
        }
        self.entries = true;
    }
}
