//! Owns how many bytes a stream is on the wire. Counted only where a log or a format may ask for it.

use crate::codec::HeaderBlock;

/// Bytes of a stream, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireBytes {
    /// All of them: heads, bodies, trailers, and what frames them.
    pub all: u64,
    /// Of heads and trailers, as Envoy counts them: lines in HTTP/1, frames in HTTP/2.
    pub headers: u64,
    /// The same before they are compressed.
    pub decompressed: u64,
    /// Of the body, without what frames it.
    pub body: u64,
}

/// Bytes of an exchange, with the client and with the hosts that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// From the client.
    pub received: WireBytes,
    /// To it.
    pub sent: WireBytes,
    /// From hosts.
    pub upstream_received: WireBytes,
    /// To them.
    pub upstream_sent: WireBytes,
}

// === impl WireBytes ===

impl WireBytes {
    /// A head of HTTP/1 was received: so many bytes, of which so many are its fields.
    pub fn head_received(&mut self, all: usize, fields: u64) {
        self.all += all as u64;
        self.headers += fields;
        // Observed: Envoy 1.40 adds up what there is by each head: interim ones count again.
        self.decompressed += self.headers;
    }

    /// Trailers of HTTP/1 were received.
    pub fn trailers_received(&mut self, trailers: &HeaderBlock) {
        self.headers += trailers.iter().map(|(n, v)| (n.len() + v.len() + 3) as u64).sum::<u64>();
    }

    /// Trailers of HTTP/1 were sent.
    pub fn trailers_sent(&mut self, trailers: &HeaderBlock) {
        let lines: usize = trailers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        self.headers += lines as u64;
        self.decompressed += lines as u64;
    }

    /// A head of HTTP/1 is to be sent: so many bytes are its fields.
    pub fn head_sent(&mut self, fields: u64) {
        self.headers += fields;
        self.decompressed += fields;
    }
}

impl std::ops::AddAssign for WireBytes {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.headers += other.headers;
        self.decompressed += other.decompressed;
        self.body += other.body;
    }
}
