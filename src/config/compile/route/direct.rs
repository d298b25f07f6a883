//! Owns compiling answers that a route gives by itself.

use super::super::Compiler;
use crate::config::{Message, model::route::DirectResponse};

/// Envoy's `max_direct_response_body_size_bytes` default.
const DIRECT_BODY_BYTES_MAX: usize = 4096;

impl Compiler<'_> {
    pub(super) fn direct(&mut self, direct: &Message) -> Option<DirectResponse> {
        let status = direct.number("status").and_then(|status| u16::try_from(status).ok())?;
        let mut body = Vec::new();
        if let Some(source) = direct.message("body") {
            body = self.data_source(source).unwrap_or_default();
            if body.len() > DIRECT_BODY_BYTES_MAX {
                let text = format!(
                    "response body size is {} bytes; maximum is {DIRECT_BODY_BYTES_MAX}",
                    body.len()
                );
                self.error(source.at, &source.path, text, "");
            }
        }
        let format = direct.message("body_format");
        let format = format.and_then(|format| self.format_string(format));
        Some(DirectResponse { status, body, format })
    }
}
