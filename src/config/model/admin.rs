//! Owns the compiled admin port; the payload of `AdminPlan::options`.

use std::path::PathBuf;

use crate::matcher::TextMatcher;

/// `Admin`, but for its address.
#[derive(Clone, Debug, Default)]
pub struct AdminOptions {
    /// `access_log_path` or `access_log`; `None` for none.
    pub access_log: Option<PathBuf>,
    /// `profile_path`.
    pub profile_path: PathBuf,
    /// `allow_paths`, held against path and query; empty allows all.
    pub allow_paths: Vec<TextMatcher>,
}
