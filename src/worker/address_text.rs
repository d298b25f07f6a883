//! Owns an IP address written out: once for a connection, not for each request.

use std::{io::Write, net::IpAddr};

/// Bytes that the longest address takes.
const BYTES_MAX: usize = 45;

/// An IP address as text.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    bytes: [u8; BYTES_MAX],
    length: u8,
}

// === impl AddressText ===

impl AddressText {
    /// Writes an address out.
    pub fn new(address: IpAddr) -> Self {
        let mut bytes = [0; BYTES_MAX];
        let mut rest = &mut bytes[..];
        // An address longer than the longest there is would be cut.
        let _ = write!(rest, "{address}");
        let length = (BYTES_MAX - rest.len()) as u8;
        Self { bytes, length }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_address_fits() {
        for text in ["127.0.0.1", "::1", "1111:2222:3333:4444:5555:6666:7777:8888"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(AddressText::new(address).as_bytes(), text.as_bytes());
        }
    }
}
