//! Owns what a route answers by itself.

use crate::format::FormatString;

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    /// `status`.
    pub status: u16,
    /// `body`, read at load when it is a file.
    pub body: Vec<u8>,
    /// `body_format`, for the body.
    pub format: Option<FormatString>,
}
