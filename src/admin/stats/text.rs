//! `/stats` as text: a line for each stat.

use std::fmt::Write as _;

use super::{Run, Step, Wanted, histogram, steps};

/// Stats as lines.
pub(super) fn lines(
    runs: Vec<Run>,
    wanted: Wanted,
) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let pieces = steps(runs).into_iter().map(move |step| {
        // Writing to a string does not fail.
        let mut out = String::new();
        match step {
            Step::Texts(run) => {
                for (name, text) in wanted.texts(&run) {
                    let _ = writeln!(out, "{name}: \"{text}\"");
                }
            }
            Step::Numbers(run) => {
                for (name, value) in wanted.numbers(&run) {
                    let _ = writeln!(out, "{name}: {value}");
                }
            }
            Step::Histograms(run) => {
                for (name, reading) in wanted.distributions(&run) {
                    let bounds = wanted.rules.buckets(&name);
                    histogram::text(&mut out, &name, &reading, wanted.buckets, bounds);
                }
            }
            Step::Open | Step::Close => {}
        }
        out.into_bytes()
    });
    pieces.filter(|piece| !piece.is_empty())
}
