//! Owns seeing the frames in the bytes of an HTTP/2 connection, which the h2 crate does not show.

use super::PREFACE;

/// Bytes before a frame's payload (RFC 9113, 4.1).
const FRAME_HEAD_BYTES: usize = 9;

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub length: u32,
    /// Which frame it is.
    pub kind: u8,
    /// Flags, by kind.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
}

/// Finds frames in one direction of a connection, however its bytes are cut.
#[derive(Debug)]
pub struct FrameScan {
    head: [u8; FRAME_HEAD_BYTES],
    have: usize,
    /// Bytes that are none of a frame's head.
    skip: usize,
}

// === impl FrameHead ===

impl FrameHead {
    /// DATA
    pub const DATA: u8 = 0;
    /// HEADERS
    pub const HEADERS: u8 = 1;
    /// PRIORITY
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM
    pub const RST_STREAM: u8 = 3;
    /// WINDOW_UPDATE
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION
    pub const CONTINUATION: u8 = 9;

    fn read(head: [u8; FRAME_HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = head;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    /// Bytes of the frame.
    pub fn bytes(&self) -> u64 {
        FRAME_HEAD_BYTES as u64 + u64::from(self.length)
    }

    /// Whether its stream ends with it, in this direction (END_STREAM).
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, Self::DATA | Self::HEADERS) && self.flags & 1 != 0
    }
}

// === impl FrameScan ===

impl FrameScan {
    /// The frames that a client sends.
    pub fn of_client() -> Self {
        Self { skip: PREFACE.len(), ..Self::of_server() }
    }

    /// The frames that a server sends.
    pub fn of_server() -> Self {
        Self { head: [0; FRAME_HEAD_BYTES], have: 0, skip: 0 }
    }

    /// Shows the frames that begin in these bytes.
    pub fn see(&mut self, mut bytes: &[u8], mut frame: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEAD_BYTES - self.have).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.head[self.have..self.have + wanted].copy_from_slice(head);
            self.have += wanted;
            bytes = rest;
            if self.have == FRAME_HEAD_BYTES {
                let head = FrameHead::read(self.head);
                (self.have, self.skip) = (0, head.length as usize);
                frame(head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_seen_however_their_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0, 0, 3, 1, 5, 0x80, 0, 0, 1, b'a', b'b', b'c']);
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0, 3]);
        bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        for size in [1, 2, 5, 9, 10, bytes.len()] {
            let (mut scan, mut seen) = (FrameScan::of_client(), Vec::new());
            for piece in bytes.chunks(size) {
                scan.see(piece, |head| {
                    seen.push((head.kind, head.stream, head.bytes(), head.ends_stream()));
                });
            }
            assert_eq!(seen, [(1, 1, 12, true), (0, 3, 9, true), (8, 0, 13, false)], "{size}");
        }
    }
}
