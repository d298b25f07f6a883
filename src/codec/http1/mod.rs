//! Owns HTTP/1: first lines, header lines and body framing, all of them our own.

pub mod body;
mod fields;
mod framing;
pub mod request;
mod request_line;
pub mod response;
pub mod wire;
pub mod write;

/// How a message's body is delimited (RFC 9112, 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Until the connection ends; responses only.
    UntilClose,
    /// What follows is no HTTP any more: bytes of another protocol, until either side ends.
    Tunnel,
}

/// What a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its first line and its empty last line included.
    pub head_bytes_max: usize,
    /// Header lines of a head.
    pub headers_max: usize,
    /// `content-length` beside `transfer-encoding: chunked`, which wins. Source: `allow_chunked_length`.
    pub chunked_length: bool,
}

// === impl Limits ===

impl Limits {
    /// Limits for a peer that may send nothing that can be read in two ways.
    pub const fn new(head_bytes_max: usize, headers_max: usize) -> Self {
        Self { head_bytes_max, headers_max, chunked_length: false }
    }
}
