//! Owns what a route answers by itself.

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    /// `status`.
    pub status: u16,
    /// `body`, read at load when it is a file.
    pub body: Vec<u8>,
}
