//! Owns what is left of an answer's body: each piece is made when the one before was taken.

use std::{
    mem,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::task::JoinError;

use super::scribe::{self, Piece, Pieces, Scribe};
use crate::admin::Body;

/// A body on its way out.
pub(super) struct Rest {
    left: Left,
    scribe: Scribe,
}

/// What is left of a body.
enum Left {
    Nothing,
    Whole(Vec<u8>),
    Pieces(Pieces),
    /// A piece is being made.
    Making(BoxFuture<'static, Result<Piece, JoinError>>),
}

// === impl Rest ===

impl Rest {
    pub(super) fn new(body: Body, scribe: Scribe) -> Self {
        let left = match body {
            Body::Whole(bytes) if bytes.is_empty() => Left::Nothing,
            Body::Whole(bytes) => Left::Whole(bytes),
            Body::Pieces(pieces) => Left::Pieces(pieces),
        };
        Self { left, scribe }
    }

    /// The next piece; none is empty.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            match mem::replace(&mut self.left, Left::Nothing) {
                Left::Nothing => return Poll::Ready(None),
                Left::Whole(bytes) => return Poll::Ready(Some(bytes)),
                Left::Pieces(pieces) => {
                    let making = self.scribe.clone().make(move || scribe::next(pieces));
                    self.left = Left::Making(Box::pin(making));
                }
                Left::Making(mut making) => match making.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.left = Left::Making(making);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((piece, rest))) => {
                        self.left = rest.map_or(Left::Nothing, Left::Pieces);
                        if !piece.is_empty() {
                            return Poll::Ready(Some(piece));
                        }
                    }
                    // The client must not take a part for the whole: its connection falls.
                    Poll::Ready(Err(error)) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_ended) => return Poll::Ready(None),
                    },
                },
            }
        }
    }
}
