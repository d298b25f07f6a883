//! Owns compiling answers that a route gives by itself.

use std::fs;

use super::super::Compiler;
use crate::config::{Message, message::Value, model::route::DirectResponse};

/// Envoy's `max_direct_response_body_size_bytes` default.
const DIRECT_BODY_BYTES_MAX: usize = 4096;

impl Compiler<'_> {
    pub(super) fn direct(&mut self, direct: &Message) -> Option<DirectResponse> {
        let status = direct.number("status").and_then(|status| u16::try_from(status).ok())?;
        let mut body = Vec::new();
        if let Some(source) = direct.message("body") {
            body = if let Some(text) = source.text("inline_string") {
                text.as_bytes().to_vec()
            } else if let Some(Value::Bytes(bytes)) =
                source.get("inline_bytes").map(|set| &set.value)
            {
                bytes.clone()
            } else if let Some(path) = source.text("filename") {
                fs::read(path).unwrap_or_else(|error| {
                    let text = format!("cannot read {path:?}: {error}");
                    self.error(source.at, &source.path, text, "");
                    Vec::new()
                })
            } else {
                Vec::new()
            };
            if body.len() > DIRECT_BODY_BYTES_MAX {
                let text = format!(
                    "response body size is {} bytes; maximum is {DIRECT_BODY_BYTES_MAX}",
                    body.len()
                );
                self.error(source.at, &source.path, text, "");
            }
        }
        Some(DirectResponse { status, body })
    }
}
