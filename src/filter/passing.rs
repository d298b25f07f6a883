//! Owns a body that passes by filters, in one direction: part by part, or held until it is whole.

use std::{
    mem,
    task::{Context, Poll, ready},
};

use futures_util::future::LocalBoxFuture;

use super::{Filters, Hooks, Verdict};
use crate::{
    codec::HeaderBlock,
    stream::{BodyError, Data, Frame, Source},
};

/// One direction of a stream.
pub(super) struct Passing {
    pub(super) filters: Filters,
    direction: Direction,
    /// The part that passes by.
    piece: Vec<u8>,
    /// Filters that the part has still to pass.
    left: usize,
    waiting: Option<LocalBoxFuture<'static, Verdict>>,
    /// As they go on.
    trailers: Option<HeaderBlock>,
    held: Option<Held>,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the host, in the order of the file.
    Request,
    /// To the client, against it.
    Response,
}

/// A body that is held.
#[derive(Default)]
pub(super) struct Held {
    /// What is here of it.
    pub(super) body: Vec<u8>,
    /// What came after it.
    pub(super) trailers: Option<HeaderBlock>,
    whole: bool,
}

// === impl Passing ===

impl Passing {
    pub(super) fn new(filters: Filters, direction: Direction) -> Self {
        let (piece, waiting, trailers, held) = (Vec::new(), None, None, None);
        Self { filters, direction, piece, left: 0, waiting, trailers, held }
    }

    /// The body that is held, if it is.
    pub(super) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// There is no body: it is whole as it is.
    pub(super) fn has_no_body(&mut self) {
        self.held = Some(Held { whole: true, ..Held::default() });
    }

    /// The body that is held so far, to change it.
    pub(super) fn held_body(&mut self) -> &mut Vec<u8> {
        &mut self.held.get_or_insert_default().body
    }

    /// Holds the body; ready when it is whole, or longer than allowed: says whether it fits.
    pub(super) fn poll_hold<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut S,
        bytes_max: usize,
    ) -> Poll<Result<bool, BodyError>> {
        let held = self.held.get_or_insert_default();
        while !held.whole && held.body.len() <= bytes_max {
            match ready!(inner.poll_frame(cx))? {
                Frame::Data(data) => held.body.extend_from_slice(data.as_slice()),
                Frame::Trailers(trailers) => {
                    held.trailers = Some(trailers.clone());
                    held.whole = true;
                }
                Frame::End => held.whole = true,
            }
        }
        Poll::Ready(Ok(held.body.len() <= bytes_max))
    }

    /// Reads the body to its end and keeps nothing of it.
    pub(super) fn poll_discard<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut S,
    ) -> Poll<Result<(), BodyError>> {
        if !self.held.as_ref().is_some_and(|held| held.whole) {
            while let Frame::Data(_) = ready!(inner.poll_frame(cx))? {}
        }
        self.has_no_body();
        Poll::Ready(Ok(()))
    }

    /// The next part as it has become.
    pub(super) fn poll_frame<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut S,
    ) -> Poll<Result<Frame<'_>, BodyError>> {
        loop {
            if !self.is_under_way() {
                match &mut self.held {
                    Some(held) if !held.body.is_empty() => {
                        let body = mem::take(&mut held.body);
                        self.begin(&body);
                    }
                    Some(held) => {
                        let trailers = held.trailers.take();
                        return Poll::Ready(Ok(self.end(trailers)));
                    }
                    None => match ready!(inner.poll_frame(cx))? {
                        Frame::Data(data) => self.begin(data.as_slice()),
                        Frame::Trailers(trailers) => {
                            let trailers = trailers.clone();
                            return Poll::Ready(Ok(self.end(Some(trailers))));
                        }
                        Frame::End => return Poll::Ready(Ok(Frame::End)),
                    },
                }
            }
            ready!(self.poll_piece(cx))?;
            // A part of which nothing is left is none.
            if !self.piece.is_empty() {
                return Poll::Ready(Ok(Frame::Data(Data::Slice(&self.piece))));
            }
        }
    }

    fn is_under_way(&self) -> bool {
        self.left > 0 || self.waiting.is_some()
    }

    fn begin(&mut self, data: &[u8]) {
        self.piece.clear();
        self.piece.extend_from_slice(data);
        self.left = self.filters.count();
    }

    /// Ready when the part has passed all filters.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.is_under_way() {
            let verdict = match &mut self.waiting {
                Some(waiting) => {
                    let verdict = ready!(waiting.as_mut().poll(cx));
                    self.waiting = None;
                    verdict
                }
                None => self.next_verdict(),
            };
            match verdict {
                // There is no head to hold back any more.
                Verdict::Continue | Verdict::Hold { .. } | Verdict::Discard => {}
                Verdict::Wait(waiting) => self.waiting = Some(waiting),
                Verdict::Reply(reply) => {
                    self.left = 0;
                    self.filters.refuse(reply);
                    return Poll::Ready(Err(BodyError::Refused));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn next_verdict(&mut self) -> Verdict {
        self.left -= 1;
        let Self { filters, piece, left, .. } = self;
        match self.direction {
            Direction::Request => {
                let at = filters.count() - 1 - *left;
                filters.call(at, Hooks::REQUEST_DATA, |filter, _| filter.on_request_data(piece))
            }
            Direction::Response => filters
                .call(*left, Hooks::RESPONSE_DATA, |filter, _| filter.on_response_data(piece)),
        }
    }

    /// The end of the body, with trailers as they have become.
    fn end(&mut self, trailers: Option<HeaderBlock>) -> Frame<'_> {
        let Some(trailers) = trailers else { return Frame::End };
        let passing = self.trailers.insert(trailers);
        let states = &mut self.filters.running.borrow_mut().states;
        match self.direction {
            Direction::Request => states
                .iter_mut()
                .filter(|state| state.hooks.has(Hooks::REQUEST_TRAILERS))
                .for_each(|state| state.filter.on_request_trailers(passing)),
            Direction::Response => states
                .iter_mut()
                .rev()
                .filter(|state| state.hooks.has(Hooks::RESPONSE_TRAILERS))
                .for_each(|state| state.filter.on_response_trailers(passing)),
        }
        Frame::Trailers(passing)
    }
}
