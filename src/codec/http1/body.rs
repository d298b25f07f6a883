//! Owns the framing of bodies: reading chunks without copying them, writing chunks without formatting.

use super::{
    Framing, Limits,
    fields::{self, FieldsError},
    request::{RequestError, bad, too_large},
};
use crate::codec::{HeaderBlock, scan::text_run};

/// A chunk's size line at most, its extensions included. Extensions are dropped.
const SIZE_LINE_BYTES_MAX: usize = 4 * 1024;

/// What size lines may take beyond what a sparing sender needs, in all: a body of extensions with a
/// byte of payload each would cost us much and its sender little (CVE-2023-39326 and its kin).
const WASTE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a size line, its end included, that are no waste.
const SIZE_LINE_BYTES_FREE: usize = 20;

/// Reads one body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    wasted: usize,
    /// Boxed: few bodies have any, and every exchange has room for two decoders.
    trailers: Option<Box<HeaderBlock>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Done,
    Length(u64),
    UntilClose,
    /// No body: all there is, until either side ends it.
    Tunnel,
    /// Before a size line.
    Size,
    /// So much is left of a chunk.
    Chunk(u64),
    /// Before the line end after a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
}

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of payload; consume them when they are done with.
    Data(usize),
    /// So many bytes of framing; consume them and ask again.
    Skip(usize),
    /// Nothing that can be told yet.
    More,
    /// The body is complete.
    End,
}

/// The body breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not a chunk where one should be, or not trailers.
    #[error("the body breaks its framing")]
    Malformed,
    /// Trailers with bytes that none may have.
    #[error("trailers hold characters that are not allowed")]
    InvalidCharacters,
    /// Trailers of more bytes than a head may have.
    #[error("trailers are larger than a head may be")]
    TooLarge,
    /// More trailers than a head may have headers.
    #[error("there are more trailers than a head may have headers")]
    TooMany,
    /// A trailer with `_` in its name, where none may have one.
    #[error("a trailer has an underscore in its name")]
    Underscore,
    /// The connection ended before the body did.
    #[error("the connection ended before the body did")]
    Cut,
}

// === impl FramingError ===

impl FramingError {
    /// How a request with such a body is refused.
    pub fn refusal(self) -> RequestError {
        match self {
            FramingError::Malformed | FramingError::Cut => bad("http1.codec_error"),
            FramingError::InvalidCharacters => bad("http1.invalid_characters"),
            FramingError::Underscore => bad("http1.unexpected_underscore"),
            FramingError::TooLarge => too_large("http1.headers_too_large"),
            FramingError::TooMany => too_large("http1.too_many_headers"),
        }
    }
}

// === impl Decoder ===

impl Decoder {
    /// A decoder for a body delimited like this.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
        Self { state, ..Self::default() }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether only the end of the connection ends it.
    pub fn until_close(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Whether it is no body, but another protocol's bytes.
    pub fn is_tunnel(&self) -> bool {
        self.state == State::Tunnel
    }

    /// Trailers, once the body is complete and if it has any.
    pub fn trailers(&self) -> Option<&HeaderBlock> {
        self.trailers.as_deref().filter(|trailers| !trailers.is_empty())
    }

    /// The same, to be changed.
    pub fn trailers_mut(&mut self) -> Option<&mut HeaderBlock> {
        self.trailers.as_deref_mut()
    }

    /// The next step for this input.
    ///
    /// # Errors
    ///
    /// [`FramingError`]: the connection cannot be read any further.
    #[inline]
    pub fn step(&mut self, input: &[u8], limits: &Limits) -> Result<Step, FramingError> {
        match self.state {
            State::Done => Ok(Step::End),
            _ if input.is_empty() => Ok(Step::More),
            State::UntilClose | State::Tunnel => Ok(Step::Data(input.len())),
            State::Length(left) => {
                let count = take(left, input.len());
                self.state = match left - count as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                };
                Ok(Step::Data(count))
            }
            State::Chunk(left) => {
                let count = take(left, input.len());
                self.state = match left - count as u64 {
                    0 => State::ChunkEnd,
                    left => State::Chunk(left),
                };
                self.wasted = self.wasted.saturating_sub(count);
                Ok(Step::Data(count))
            }
            State::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Step::Skip(2))
                }
                [b'\r'] => Ok(Step::More),
                _ => Err(FramingError::Malformed),
            },
            State::Size => self.size_line(input),
            State::Trailers => self.trailer_lines(input, limits),
        }
    }

    fn size_line(&mut self, input: &[u8]) -> Result<Step, FramingError> {
        let (size, length) = match parse_size_line(input)? {
            Some(line) if line.1 <= SIZE_LINE_BYTES_MAX => line,
            None if input.len() < SIZE_LINE_BYTES_MAX => return Ok(Step::More),
            _ => return Err(FramingError::Malformed),
        };
        self.wasted += length.saturating_sub(SIZE_LINE_BYTES_FREE);
        if self.wasted > WASTE_BYTES_MAX {
            return Err(FramingError::Malformed);
        }
        self.state = match size {
            0 => State::Trailers,
            size => State::Chunk(size),
        };
        Ok(Step::Skip(length))
    }

    fn trailer_lines(&mut self, input: &[u8], limits: &Limits) -> Result<Step, FramingError> {
        if let [b'\r', b'\n', ..] = input {
            self.state = State::Done;
            return Ok(Step::Skip(2));
        }
        let (within, cut) = match input.get(..limits.head_bytes_max) {
            Some(within) if input.len() > within.len() => (within, true),
            _ => (input, false),
        };
        match fields::read_trailers(
            within,
            limits.headers_max,
            self.trailers.get_or_insert_default(),
        ) {
            Ok(Some(consumed)) => {
                self.state = State::Done;
                Ok(Step::Skip(consumed))
            }
            Ok(None) if cut => Err(FramingError::TooLarge),
            Ok(None) => Ok(Step::More),
            Err(FieldsError::TooMany) => Err(FramingError::TooMany),
            Err(FieldsError::Malformed) if fields::has_controls(within) => {
                Err(FramingError::InvalidCharacters)
            }
            Err(FieldsError::Malformed) => Err(FramingError::Malformed),
        }
    }
}

#[inline]
fn take(left: u64, here: usize) -> usize {
    usize::try_from(left).map_or(here, |left| left.min(here))
}

/// Reads a chunk's size line (RFC 9112, 7.1): the size and the line's length with its end, or `None` if
/// its end is not here. After the size there may be white space and an extension; the line ends with CR
/// LF and nothing else.
fn parse_size_line(input: &[u8]) -> Result<Option<(u64, usize)>, FramingError> {
    let mut size: u64 = 0;
    let mut at = 0;
    while let Some(digit) = input.get(at).and_then(|byte| char::from(*byte).to_digit(16)) {
        // Leading zeros are no digits of the number.
        if size >= 1 << 60 || at >= SIZE_LINE_BYTES_MAX {
            return Err(FramingError::Malformed);
        }
        size = size << 4 | u64::from(digit);
        at += 1;
    }
    let digits = at;
    while let Some(b' ' | b'\t') = input.get(at) {
        at += 1;
    }
    if let Some(b';') = input.get(at) {
        at += text_run(input.get(at..).unwrap_or_default());
    }
    match (input.get(at), input.get(at + 1)) {
        _ if digits == 0 => Err(FramingError::Malformed),
        (Some(b'\r'), Some(b'\n')) => Ok(Some((size, at + 2))),
        (None, _) | (Some(b'\r'), None) => Ok(None),
        _ => Err(FramingError::Malformed),
    }
}

/// Writes one body behind its head.
#[derive(Debug, Default)]
pub struct Encoder {
    chunked: bool,
    open: Option<OpenChunk>,
}

/// A chunk that may still grow.
#[derive(Clone, Copy, Debug)]
struct OpenChunk {
    /// Where its size stands, in a buffer that is far smaller than 4 GiB.
    at: u32,
    digits: u8,
}

// === impl Encoder ===

impl Encoder {
    /// An encoder that writes chunks, or the bytes as they are.
    pub fn new(chunked: bool) -> Self {
        Self { chunked, open: None }
    }

    /// Whether it writes chunks, and so may end with trailers.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Adds payload. What is added until [`Self::seal`] becomes one chunk.
    #[inline]
    pub fn data(&mut self, out: &mut Vec<u8>, data: &[u8]) {
        if self.chunked && !data.is_empty() {
            match self.open {
                None => self.begin_chunk(out, data.len()),
                Some(chunk) => self.grow_chunk(chunk, out, data.len()),
            }
        }
        out.extend_from_slice(data);
    }

    fn begin_chunk(&mut self, out: &mut Vec<u8>, size: usize) {
        let (at, digits) = (out.len() as u32, hex_digits(size) as u8);
        self.open = Some(OpenChunk { at, digits });
        write_chunk_size(out, size);
    }

    /// Says a larger size where the old one stands; the payload moves if that takes another digit.
    fn grow_chunk(&mut self, chunk: OpenChunk, out: &mut Vec<u8>, more: usize) {
        let (at, before) = (chunk.at as usize, usize::from(chunk.digits));
        let payload = at + before + 2;
        let size = out.len().saturating_sub(payload) + more;
        let digits = hex_digits(size);
        let wider = digits - before;
        if wider > 0 {
            let end = out.len();
            out.resize(end + wider, 0);
            out.copy_within(at..end, at + wider);
            self.open = Some(OpenChunk { digits: digits as u8, ..chunk });
        }
        write_hex(out.get_mut(at..at + digits).unwrap_or_default(), size);
    }

    /// Closes the open chunk: what is in `out` may be sent.
    #[inline]
    pub fn seal(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the body.
    #[inline]
    pub fn end(&mut self, out: &mut Vec<u8>, trailers: Option<&HeaderBlock>) {
        if self.chunked {
            self.seal(out);
            write_last_chunk(out, trailers);
        }
    }
}

fn hex_digits(size: usize) -> usize {
    ((usize::BITS - size.leading_zeros()).div_ceil(4)).max(1) as usize
}

/// Fills `place` with the last digits of a size.
fn write_hex(place: &mut [u8], size: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = size;
    for digit in place.iter_mut().rev() {
        *digit = HEX[rest & 15];
        rest >>= 4;
    }
}

/// Writes the line before a chunk of this many bytes.
pub fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    let mut line = [0; usize::BITS as usize / 4];
    let place = line.get_mut(..hex_digits(size)).unwrap_or_default();
    write_hex(place, size);
    out.extend_from_slice(place);
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a chunked body.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderBlock>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        super::write::fields(out, trailers, super::write::NameCase::Lower);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
