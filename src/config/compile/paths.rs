//! Owns compiling what is done about paths and names that can be written in many ways.

use super::Compiler;
use crate::{
    config::{
        Message,
        model::paths::{PathOptions, Underscores},
    },
    path::EscapedSlashes,
};

impl Compiler<'_> {
    /// `path_normalization_options` is left unread, and so refused: Envoy takes it and does nothing.
    pub(super) fn path_options(&self, manager: &Message) -> PathOptions {
        let action = manager.choice("path_with_escaped_slashes_action");
        PathOptions {
            normalize: manager.boolean("normalize_path"),
            merge_slashes: manager.boolean("merge_slashes").unwrap_or(false),
            escaped_slashes: match action {
                Some("KEEP_UNCHANGED") => Some(EscapedSlashes::Keep),
                Some("REJECT_REQUEST") => Some(EscapedSlashes::Refuse),
                Some("UNESCAPE_AND_REDIRECT") => Some(EscapedSlashes::Redirect),
                Some("UNESCAPE_AND_FORWARD") => Some(EscapedSlashes::Forward),
                _ => None,
            },
        }
    }

    pub(super) fn underscores(&self, common: Option<&Message>) -> Underscores {
        match common.and_then(|common| common.choice("headers_with_underscores_action")) {
            Some("REJECT_REQUEST") => Underscores::Reject,
            Some("DROP_HEADER") => Underscores::Drop,
            _ => Underscores::Allow,
        }
    }
}
