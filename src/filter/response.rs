//! Owns a response on its way through the filters.

use std::task::{Context, Poll, ready};

use futures_util::future::LocalBoxFuture;

use super::{
    Filters, Verdict,
    passing::{Direction, Passing},
};
use crate::{
    codec::{HeaderBlock, Known, ResponseHead},
    local_reply::LocalReply,
    stream::{BodyError, BodySize, Frame, Reset, ResponseSource, Source, WireBytes},
};

/// The host's stream behind the filters; costs a branch where there are none.
pub struct FilteredResponse<V> {
    inner: V,
    /// The size of the body, once the head is here.
    arrived: Option<BodySize>,
    side: Option<Box<Side>>,
    /// Trailers, where somebody will ask for them.
    trailers: Option<Box<HeaderBlock>>,
}

struct Side {
    passing: Passing,
    /// The host has asked to be left out; filters may say the same of us.
    asks_out: bool,
    /// Filters that the head has still to pass.
    left: usize,
    waiting: Option<LocalBoxFuture<'static, Verdict>>,
    /// The filter whose turn it is has asked for the body, if it is no longer than this.
    holding: Option<usize>,
}

// === impl FilteredResponse ===

impl<V: ResponseSource> FilteredResponse<V> {
    /// The stream behind these filters, if there are any.
    #[inline]
    pub fn new(inner: V, filters: Option<Filters>) -> Self {
        let side = filters.map(|filters| {
            let left = filters.count();
            let passing = Passing::new(filters, Direction::Response);
            Box::new(Side { passing, asks_out: false, left, waiting: None, holding: None })
        });
        Self { inner, arrived: None, side, trailers: None }
    }

    /// Keeps trailers for [`Self::take_trailers`].
    pub fn keep_trailers(&mut self) {
        self.trailers = Some(Box::default());
    }

    /// The trailers that came.
    pub fn take_trailers(&mut self) -> Option<Box<HeaderBlock>> {
        self.trailers.take()
    }

    /// Whether the host has asked to be left out, with this head.
    pub fn asks_out(&self, head: &ResponseHead) -> bool {
        match &self.side {
            Some(side) => side.asks_out,
            None => head.headers.has(Known::XEnvoyImmediateHealthCheckFail),
        }
    }

    /// The head of the answer is here, whoever has read it. It has still to pass the filters.
    pub fn arrive(&mut self, head: &ResponseHead, size: BodySize) {
        self.arrived = Some(size);
        if let Some(side) = &mut self.side {
            side.asks_out = head.headers.has(Known::XEnvoyImmediateHealthCheckFail);
            if size == BodySize::None {
                side.passing.has_no_body();
            }
        }
    }

    /// Fills in the head, and shows it to the filters unless `unwanted` says that the answer goes no
    /// further; asked again, it goes further all the same. Interim answers come first, and are shown to
    /// nobody.
    ///
    /// # Errors
    ///
    /// [`Reset`]: there will be no response; [`Reset::Unwanted`] where it goes no further.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        unwanted: impl FnOnce(&mut ResponseHead) -> bool,
    ) -> Poll<Result<BodySize, Reset>> {
        let size = match self.arrived {
            Some(size) => size,
            None => {
                let size = ready!(self.inner.poll_head(cx, head))?;
                if head.status < 200 && size != BodySize::Tunnel {
                    return Poll::Ready(Ok(size));
                }
                self.arrive(head, size);
                if unwanted(head) {
                    return Poll::Ready(Err(Reset::Unwanted));
                }
                size
            }
        };
        let Some(side) = &mut self.side else { return Poll::Ready(Ok(size)) };
        ready!(side.poll_verdicts(cx, &mut self.inner, head))?;
        Poll::Ready(Ok(match side.passing.held() {
            None => size,
            Some(held) if held.trailers.is_some() => BodySize::Unknown,
            Some(held) if held.body.is_empty() => BodySize::None,
            Some(held) => BodySize::Known(held.body.len() as u64),
        }))
    }
}

impl<V: ResponseSource> Source for FilteredResponse<V> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let frame = match &mut self.side {
            Some(side) => side.passing.poll_frame(cx, &mut self.inner),
            None => self.inner.poll_frame(cx),
        };
        if let Poll::Ready(Ok(Frame::Trailers(trailers))) = &frame
            && let Some(kept) = &mut self.trailers
        {
            **kept = (*trailers).clone();
        }
        frame
    }

    fn has_more(&self) -> bool {
        self.inner.has_more()
    }

    fn wire(&self) -> WireBytes {
        self.inner.wire()
    }
}

// === impl Side ===

impl Side {
    /// Shows the head to the filters that have not seen it.
    fn poll_verdicts<V: ResponseSource>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut V,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Reset>> {
        loop {
            let verdict = if let Some(waiting) = &mut self.waiting {
                let verdict = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                verdict
            } else if let Some(bytes_max) = self.holding {
                let fits = ready!(self.passing.poll_hold(cx, inner, bytes_max));
                self.holding = None;
                let filters = self.passing.filters.clone();
                match fits.map_err(|_| Reset::Terminated)? {
                    true => filters.response_held(self.left, head, self.passing.held_body()),
                    false => Verdict::Reply(LocalReply::response_too_large()),
                }
            } else if self.left > 0 {
                self.left -= 1;
                self.passing.filters.response_head(self.left, head)
            } else {
                return Poll::Ready(Ok(()));
            };
            match verdict {
                Verdict::Continue | Verdict::Discard => {}
                Verdict::Wait(waiting) => self.waiting = Some(waiting),
                Verdict::Hold { bytes_max } => self.holding = Some(bytes_max),
                Verdict::Reply(reply) => {
                    self.passing.filters.refuse(reply);
                    return Poll::Ready(Err(Reset::Refused));
                }
            }
        }
    }
}
