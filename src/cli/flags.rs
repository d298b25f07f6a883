//! Owns Envoy's flags that are not done yet: they are refused by name, never ignored.

use std::ffi::OsString;

use crate::logging::LevelError;

/// Why a flag is refused.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Envoy has it; we do not yet.
    #[error("{name} is not supported yet: {why}")]
    NotYet {
        /// The flag.
        name: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// `--log-level`, `--component-log-level`.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// A flag of Envoy's that is not done yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotYet {
    pub(super) name: &'static str,
    why: &'static str,
}

/// Envoy's flags that are not done yet, and why they cannot simply be ignored.
pub(super) const NOT_YET: [NotYet; 16] = [
    NotYet { name: "--enable-core-dump", why: "set the limit outside, with ulimit -c" },
    NotYet { name: "--socket-mode", why: "there is no hot restart yet; leave it out" },
    NotYet { name: "--socket-path", why: "there is no hot restart yet; leave it out" },
    NotYet { name: "--base-id-path", why: "there is no hot restart yet; leave it out" },
    NotYet { name: "--use-dynamic-base-id", why: "there is no hot restart yet; leave it out" },
    NotYet {
        name: "--skip-hot-restart-on-no-parent",
        why: "there is no hot restart yet; leave it out",
    },
    NotYet {
        name: "--skip-hot-restart-parent-stats",
        why: "there is no hot restart yet; leave it out",
    },
    NotYet { name: "--disable-extensions", why: "every extension that is built in is on" },
    NotYet { name: "--enable-mutex-tracing", why: "no request takes a lock that could be traced" },
    NotYet {
        name: "--enable-fine-grain-logging",
        why: "levels are set by logger; use --component-log-level",
    },
    NotYet { name: "--log-stacktrace-single-entry", why: "no stack traces are logged" },
    NotYet { name: "--skip-deprecated-logs", why: "use --component-log-level config:error" },
    NotYet {
        name: "--ignore-unknown-dynamic-fields",
        why: "there is no dynamic configuration yet; leave it out",
    },
    NotYet {
        name: "--reject-unknown-dynamic-fields",
        why: "there is no dynamic configuration yet; leave it out",
    },
    NotYet {
        name: "--allow-unknown-static-fields",
        why: "an unknown field is an error; --skip-unsupported drops known ones that are not done",
    },
    NotYet {
        name: "--allow-unknown-fields",
        why: "an unknown field is an error; --skip-unsupported drops known ones that are not done",
    },
];

/// All of Envoy's flags. Observed: Envoy 1.40 `--help`.
#[cfg(test)]
pub(super) const ENVOYS: &[&str] = &[
    "--stats-tag",
    "--enable-core-dump",
    "--socket-mode",
    "--socket-path",
    "--disable-extensions",
    "--cpuset-threads",
    "--enable-mutex-tracing",
    "--disable-hot-restart",
    "--mode",
    "--parent-shutdown-time-s",
    "--drain-strategy",
    "--drain-time-s",
    "--file-flush-min-size-kb",
    "--file-flush-interval-msec",
    "--service-zone",
    "--service-node",
    "--service-cluster",
    "--hot-restart-version",
    "--restart-epoch",
    "--log-path",
    "--enable-fine-grain-logging",
    "--log-format-escaped",
    "--log-format",
    "--component-log-level",
    "--log-level",
    "--local-address-ip-version",
    "--admin-address-path",
    "--log-stacktrace-single-entry",
    "--skip-deprecated-logs",
    "--ignore-unknown-dynamic-fields",
    "--reject-unknown-dynamic-fields",
    "--allow-unknown-static-fields",
    "--allow-unknown-fields",
    "--config-yaml",
    "--config-path",
    "--concurrency",
    "--base-id-path",
    "--skip-hot-restart-parent-stats",
    "--skip-hot-restart-on-no-parent",
    "--use-dynamic-base-id",
    "--base-id",
    "--version",
    "--help",
];

/// `--restart-epoch`, of which 0 is the first process.
pub(super) fn first_epoch(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Ok(0),
        Ok(_) => Err("there is no hot restart yet; leave it out".to_owned()),
        Err(_) => Err("a number is wanted".to_owned()),
    }
}

/// `--stats-tag`: a name of letters, digits, and a value.
///
/// Observed: Envoy 1.40, `--stats-tag noval` and `--stats-tag a.b:c`.
pub(super) fn stats_tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("misformatted stats-tag; write NAME:VALUE")?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!(
            "misformatted stats-tag contains invalid char in '{name}'; letters and digits are wanted"
        ));
    }
    match value.is_empty() {
        true => {
            Err("misformatted stats-tag contains invalid char in ''; a value is wanted".to_owned())
        }
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

/// Refuses the flags that Envoy knows and we do not.
///
/// # Errors
///
/// [`FlagError::NotYet`] for the first of them.
pub(super) fn refuse_known(arguments: &[OsString]) -> Result<(), FlagError> {
    for argument in arguments.iter().skip(1) {
        let text = argument.to_string_lossy();
        if text == "--" {
            break;
        }
        let name = text.split('=').next().unwrap_or_default();
        if let Some(NotYet { name, why }) = NOT_YET.iter().find(|flag| flag.name == name) {
            return Err(FlagError::NotYet { name, why });
        }
    }
    Ok(())
}
