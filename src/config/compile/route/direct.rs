//! Owns compiling answers that a route gives by itself.

use super::super::Compiler;
use crate::config::{Message, model::route::DirectResponse};

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
        let format = direct.message("body_format");
        let format = format.and_then(|format| self.format_string(format));
        Some(DirectResponse { status, body, format })
    }

    /// `DataSource`
    fn direct_body(&mut self, source: &Message, bytes_max: usize) -> Vec<u8> {
        let Some(body) = self.data_source(source) else { return Vec::new() };
        if body.len() <= bytes_max {
            return body;
        }
        let told = format!("response body size is {} bytes; maximum is {bytes_max}", body.len());
        self.error(source.at, &source.path, told, "");
        Vec::new()
    }
}
