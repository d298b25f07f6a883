//! Owns a request's body on its way through the filters.

use std::task::{Context, Poll};

use super::{
    Filters, Verdict,
    passing::{Direction, Passing},
};
use crate::{
    codec::RequestHead,
    stream::{BodyError, BodySize, Frame, RequestSource, Source, WireBytes},
};

/// The client's stream behind the filters; costs a branch where there are none.
pub struct FilteredRequest<'a, Q> {
    inner: &'a mut Q,
    passing: Option<Box<Passing>>,
}

// === impl FilteredRequest ===

impl<'a, Q: RequestSource> FilteredRequest<'a, Q> {
    /// The stream, with no filters yet.
    pub fn new(inner: &'a mut Q) -> Self {
        Self { inner, passing: None }
    }

    /// Lets the body pass by these filters.
    pub fn pass_by(&mut self, filters: Filters, ends: bool) {
        let mut passing = Box::new(Passing::new(filters, Direction::Request));
        if ends {
            passing.has_no_body();
        }
        self.passing = Some(passing);
    }

    /// Holds the body; ready when it is whole, or longer than allowed: says whether it fits.
    ///
    /// # Errors
    ///
    /// What the client's stream fails with.
    pub fn poll_hold(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<bool, BodyError>> {
        match &mut self.passing {
            Some(passing) => passing.poll_hold(cx, self.inner, bytes_max),
            None => Poll::Ready(Ok(false)),
        }
    }

    /// Reads the body to its end and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// What the client's stream fails with.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match &mut self.passing {
            Some(passing) => passing.poll_discard(cx, self.inner),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Shows the held body to the filter in this place.
    pub fn show_held(&mut self, at: usize, head: &mut RequestHead) -> Verdict {
        let Some(passing) = &mut self.passing else { return Verdict::Continue };
        let filters = passing.filters.clone();
        filters.request_held(at, head, passing.held_body())
    }

    /// The size of the body, if it is held.
    pub fn held(&self) -> Option<BodySize> {
        let held = self.passing.as_ref()?.held()?;
        Some(match (held.body.len(), &held.trailers) {
            (0, None) => BodySize::None,
            (length, None) => BodySize::Known(length as u64),
            (_, Some(_)) => BodySize::Unknown,
        })
    }
}

impl<Q: RequestSource> Source for FilteredRequest<'_, Q> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        match &mut self.passing {
            Some(passing) => passing.poll_frame(cx, self.inner),
            None => self.inner.poll_frame(cx),
        }
    }

    fn has_more(&self) -> bool {
        self.inner.has_more()
    }

    fn wire(&self) -> WireBytes {
        self.inner.wire()
    }
}

impl<Q: RequestSource> RequestSource for FilteredRequest<'_, Q> {
    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_gone(cx)
    }

    fn expects_continue(&self) -> bool {
        // A client whose body is here need not be told to go on.
        self.held().is_none() && self.inner.expects_continue()
    }
}
