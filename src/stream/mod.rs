//! Owns what an exchange needs of a stream, whatever protocol carries it: frames in, frames out.
//!
//! Everything is polled, nothing is spawned: one task carries a request from end to end.

mod floods;
mod pump;
mod replay;
mod reset;
mod wire;
mod wires;

pub use floods::{Flood, Floods};
pub use pump::{Pump, PumpError};
pub use replay::{Kept, Replay};
pub use reset::{ConnectFailure, ConnectStage, Reset};
pub use wire::{Wire, WireBytes};
pub use wires::{CountedStream, Wires};

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::codec::{HeaderBlock, RequestHead, ResponseHead, http1::body::FramingError};

/// Bytes of a body, borrowed from a read buffer (HTTP/1) or owned (HTTP/2).
#[derive(Debug)]
pub enum Data<'a> {
    /// In somebody's buffer until the next poll.
    Slice(&'a [u8]),
    /// Shared.
    Bytes(Bytes),
}

/// A part of a message after its head.
#[derive(Debug)]
pub enum Frame<'a> {
    /// Some of the body; never empty.
    Data(Data<'a>),
    /// Trailers; nothing follows.
    Trailers(&'a HeaderBlock),
    /// Nothing follows.
    End,
}

/// How the body after a head ends, as far as the head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// There is none.
    None,
    /// So many bytes.
    Known(u64),
    /// Until it ends.
    Unknown,
    /// It is no body: bytes of another protocol, both ways, until either side ends.
    Tunnel,
}

/// Why a body stops before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The peer went away.
    Gone,
    /// What came breaks the protocol.
    Protocol(FramingError),
    /// The peer took the stream back (HTTP/2).
    Reset,
    /// A filter refused it, and has left a reply.
    Refused,
}

/// Where a body comes from.
pub trait Source {
    /// The next part.
    ///
    /// # Errors
    ///
    /// [`BodyError`]: nothing more will come.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>>;

    /// Whether the next part is here already, so that it need not be waited for.
    fn has_more(&self) -> bool;

    /// Bytes on the wire so far, where they are counted.
    fn wire(&self) -> WireBytes {
        WireBytes::default()
    }
}

/// Where a body goes.
pub trait Sink {
    /// Takes a part of the body; it is sent by [`Self::poll_flush`].
    fn data(&mut self, data: Data<'_>);

    /// Takes the end.
    fn end(&mut self, trailers: Option<&HeaderBlock>);

    /// Bytes taken and not sent yet.
    fn pending(&self) -> usize;

    /// Sends what was taken.
    ///
    /// # Errors
    ///
    /// [`BodyError::Gone`] or [`BodyError::Reset`]: nothing more can be sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// Bytes on the wire so far, where they are counted.
    fn wire(&self) -> WireBytes {
        WireBytes::default()
    }
}

/// The client's side of an exchange: the rest of its request.
pub trait RequestSource: Source {
    /// Bytes of payload received so far.
    fn received(&self) -> u64;

    /// Ready when the client has gone away while nothing is expected of it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The client waits to be told to go on (`expect: 100-continue`).
    fn expects_continue(&self) -> bool;

    /// The client has taken its stream back, and is still there.
    fn was_reset(&self) -> bool {
        false
    }

    /// The whole body and its trailers, where they were kept and are all here.
    fn whole(&self) -> Option<(&[u8], Option<&HeaderBlock>)> {
        None
    }

    /// Whether the body was to be kept, and was longer than may be.
    fn is_lost(&self) -> bool {
        false
    }
}

/// The client's side of an exchange: the response.
pub trait ResponseSink: Sink {
    /// Takes the head; the sink frames the body by it.
    fn head(&mut self, head: &mut ResponseHead, body: BodySize);

    /// Takes an interim answer (1xx).
    fn interim(&mut self, head: &ResponseHead);

    /// Ready when the client has taken its request back while it waits.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Bytes of payload sent so far.
    fn sent(&self) -> u64;

    /// The client has taken its stream back, and is still there.
    fn was_reset(&self) -> bool {
        false
    }
}

/// The upstream's side of an exchange: the request.
pub trait RequestSink: Sink {
    /// Takes the head; the sink frames the body by it.
    ///
    /// # Errors
    ///
    /// [`Reset`] where the head cannot be sent by this protocol or the connection has gone.
    fn head(&mut self, head: &mut RequestHead, body: BodySize) -> Result<(), Reset>;
}

/// The upstream's side of an exchange: the response.
pub trait ResponseSource: Source {
    /// Fills in the head; interim answers come first.
    ///
    /// # Errors
    ///
    /// [`Reset`]: there will be no response.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodySize, Reset>>;
}

// === impl Data ===

impl Data<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Data::Slice(slice) => slice,
            Data::Bytes(bytes) => bytes,
        }
    }

    /// The bytes, copied only if they are borrowed.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Data::Slice(slice) => Bytes::copy_from_slice(slice),
            Data::Bytes(bytes) => bytes,
        }
    }
}
