//! Owns compiling answers that a route gives by itself.

use std::fs;

use super::super::Compiler;
use crate::config::{Message, message::Value, model::route::DirectResponse};

/// Envoy's `max_direct_response_body_size_bytes` default.
pub(super) const BODY_BYTES_MAX: usize = 4096;

impl Compiler<'_> {
    /// `DirectResponseAction`; its body has no more than so many bytes.
    pub(super) fn direct(&mut self, direct: &Message, bytes_max: usize) -> Option<DirectResponse> {
        let status = direct.number("status").and_then(|status| u16::try_from(status).ok())?;
        let body = match direct.message("body") {
            Some(source) => self.direct_body(source, bytes_max),
            None => Vec::new(),
        };
        Some(DirectResponse { status, body })
    }

    /// `DataSource`
    fn direct_body(&mut self, source: &Message, bytes_max: usize) -> Vec<u8> {
        let mut body = Ok(Vec::new());
        if let Some(text) = source.text("inline_string") {
            body = Ok(text.as_bytes().to_vec());
        } else if let Some(Value::Bytes(bytes)) = source.get("inline_bytes").map(|set| &set.value) {
            body = Ok(bytes.clone());
        } else if let Some(path) = source.text("filename") {
            body = fs::read(path).map_err(|error| format!("cannot read {path:?}: {error}"));
        } else if let Some(name) = source.text("environment_variable") {
            let missing = |_| format!("environment variable {name} is not set");
            body = std::env::var(name).map(String::into_bytes).map_err(missing);
        }
        let told = match body {
            Ok(body) if body.len() <= bytes_max => return body,
            Ok(body) => {
                format!("response body size is {} bytes; maximum is {bytes_max}", body.len())
            }
            Err(text) => text,
        };
        self.error(source.at, &source.path, told, "");
        Vec::new()
    }
}
