//! Owns access logs as a worker has them: where each goes, and of what a line is written.

use super::serve::Worker;
use crate::{
    access_log::{LogFilter, Seen, SinkId, Writer},
    config::model::access_log::AccessLog,
    format::{FormatString, StreamInfo},
};

/// One access log.
pub struct Log {
    sink: SinkId,
    filter: Option<LogFilter>,
    format: Option<FormatString>,
}

// === impl Log ===

impl Log {
    /// The logs of a configuration. Files were opened when it was applied; one that is gone since is not logged to.
    pub fn open(logs: &[AccessLog], writer: &Writer) -> Vec<Self> {
        let opened = |log: &AccessLog| {
            let sink = writer.open(&log.sink).ok()?;
            Some(Self { sink, filter: log.filter.clone(), format: log.format.clone() })
        };
        logs.iter().filter_map(opened).collect()
    }

    /// Whether a line or a filter asks for more than Envoy's default line has.
    pub fn asks(&self) -> bool {
        self.filter.is_some() || self.format.is_some()
    }

    /// Writes a line, unless the filter is against it; `default` writes Envoy's default line.
    pub fn write(
        &self,
        worker: &Worker,
        info: &StreamInfo<'_>,
        health_check: bool,
        default: impl FnOnce(&mut Vec<u8>),
    ) {
        let passes = self.filter.as_ref().is_none_or(|filter| {
            worker.with_runtime(|runtime| filter.passes(Seen { info, runtime, health_check }))
        });
        if !passes {
            return;
        }
        worker.with_line(|line| {
            match &self.format {
                None => default(line),
                Some(format) => format.write(line, info),
            }
            worker.access_log.write(&self.sink, line);
        });
    }
}
