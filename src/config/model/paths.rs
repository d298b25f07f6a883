//! Owns what a connection manager is told about paths and names that can be written in many ways.

use crate::path::EscapedSlashes;

/// How paths are made one of the many ways to write them. What the file leaves open the runtime decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathOptions {
    /// `normalize_path`
    pub normalize: Option<bool>,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`
    pub escaped_slashes: Option<EscapedSlashes>,
}

/// `headers_with_underscores_action`: many make one name of `x_a` and `x-a` (CGI and its heirs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They are names like others.
    #[default]
    Allow,
    /// The request is refused.
    Reject,
    /// The header is left out.
    Drop,
}
