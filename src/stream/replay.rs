//! Owns a request's body that can be sent again: what has passed is kept, up to a limit.

use std::task::{Context, Poll, ready};

use super::{BodyError, Data, Frame, RequestSource, Source, WireBytes};
use crate::codec::HeaderBlock;

/// The rest of a request; costs a branch where nothing is kept.
pub struct Replay<'a, Q> {
    inner: &'a mut Q,
    kept: Option<Box<Kept>>,
}

/// A body as far as it has passed.
#[derive(Debug, Default)]
pub struct Kept {
    body: Vec<u8>,
    /// It is complete, with these trailers.
    ended: Option<Option<HeaderBlock>>,
    bytes_max: usize,
    /// How much of it has been sent to the host that is tried.
    sent: usize,
    /// It was longer than may be kept.
    lost: bool,
}

// === impl Replay ===

impl<'a, Q: RequestSource> Replay<'a, Q> {
    /// The rest of a request, of which nothing is kept.
    pub fn new(inner: &'a mut Q) -> Self {
        Self { inner, kept: None }
    }

    /// Keeps the body from here on, unless it is longer than this.
    pub fn keep(&mut self, bytes_max: usize) {
        self.kept = Some(Box::new(Kept { bytes_max, ..Kept::default() }));
    }

    /// A request whose body was kept before, from its first byte on.
    pub fn again(inner: &'a mut Q, kept: Option<Box<Kept>>) -> Self {
        let kept = kept.map(|kept| Box::new(Kept { sent: 0, ..*kept }));
        Self { inner, kept }
    }

    /// What is kept.
    pub fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.kept.take()
    }

    /// Begins again with the first byte. Says whether that can be: nothing has passed, or all that has is
    /// kept.
    pub fn rewind(&mut self) -> bool {
        match &mut self.kept {
            Some(kept) if !kept.lost => {
                kept.sent = 0;
                true
            }
            _ => self.inner.received() == 0,
        }
    }
}

impl<Q: RequestSource> Source for Replay<'_, Q> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        match &mut self.kept {
            None => self.inner.poll_frame(cx),
            Some(kept) if kept.lost => self.inner.poll_frame(cx),
            Some(kept) => kept.poll_frame(cx, self.inner),
        }
    }

    fn has_more(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has_more()) || self.inner.has_more()
    }

    fn wire(&self) -> WireBytes {
        self.inner.wire()
    }
}

impl<Q: RequestSource> RequestSource for Replay<'_, Q> {
    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_gone(cx)
    }

    fn expects_continue(&self) -> bool {
        self.inner.expects_continue()
    }

    fn whole(&self) -> Option<(&[u8], Option<&HeaderBlock>)> {
        let kept = self.kept.as_ref().filter(|kept| !kept.lost)?;
        Some((&kept.body, kept.ended.as_ref()?.as_ref()))
    }

    fn is_lost(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.lost)
    }
}

// === impl Kept ===

impl Kept {
    fn has_more(&self) -> bool {
        !self.lost && (self.sent < self.body.len() || self.ended.is_some())
    }

    fn poll_frame<'f, Q: RequestSource>(
        &'f mut self,
        cx: &mut Context<'_>,
        inner: &'f mut Q,
    ) -> Poll<Result<Frame<'f>, BodyError>> {
        if self.sent < self.body.len() {
            let rest = &self.body[self.sent..];
            self.sent = self.body.len();
            return Poll::Ready(Ok(Frame::Data(Data::Slice(rest))));
        }
        if self.ended.is_some() {
            let trailers = self.ended.as_ref().and_then(Option::as_ref);
            return Poll::Ready(Ok(trailers.map_or(Frame::End, Frame::Trailers)));
        }
        let frame = ready!(inner.poll_frame(cx))?;
        match &frame {
            Frame::Data(data) if self.body.len() + data.len() > self.bytes_max => {
                self.lost = true;
                self.body = Vec::new();
            }
            Frame::Data(data) => {
                self.body.extend_from_slice(data.as_slice());
                self.sent = self.body.len();
            }
            Frame::Trailers(trailers) => self.ended = Some(Some((*trailers).clone())),
            Frame::End => self.ended = Some(None),
        }
        Poll::Ready(Ok(frame))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A client that sends these parts.
    struct Client {
        parts: Vec<&'static [u8]>,
        sent: u64,
    }

    impl Source for Client {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
            if self.parts.is_empty() {
                return Poll::Ready(Ok(Frame::End));
            }
            let part = self.parts.remove(0);
            self.sent += part.len() as u64;
            Poll::Ready(Ok(Frame::Data(Data::Slice(part))))
        }

        fn has_more(&self) -> bool {
            true
        }
    }

    impl RequestSource for Client {
        fn received(&self) -> u64 {
            self.sent
        }

        fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn expects_continue(&self) -> bool {
            false
        }
    }

    fn read(replay: &mut Replay<'_, Client>, frames: usize) -> (Vec<u8>, bool) {
        let (mut body, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
        for _ in 0..frames {
            match replay.poll_frame(&mut cx) {
                Poll::Ready(Ok(Frame::Data(data))) => body.extend_from_slice(data.as_slice()),
                Poll::Ready(Ok(_)) => return (body, true),
                other => panic!("{other:?}"),
            }
        }
        (body, false)
    }

    #[test]
    fn a_body_is_sent_again_from_its_beginning_and_goes_on_with_what_is_new() {
        let mut client = Client { parts: vec![b"one ", b"two ", b"three"], sent: 0 };
        let mut replay = Replay::new(&mut client);
        replay.keep(100);
        assert_eq!(read(&mut replay, 2), (b"one two ".to_vec(), false));
        assert!(replay.whole().is_none() && replay.rewind());
        assert_eq!(read(&mut replay, 9), (b"one two three".to_vec(), true));
        assert!(replay.rewind());
        assert_eq!(read(&mut replay, 9), (b"one two three".to_vec(), true));
        assert_eq!(replay.whole().map(|(body, _)| body.to_vec()), Some(b"one two three".to_vec()));
    }

    #[test]
    fn a_body_that_is_longer_than_may_be_kept_passes_and_cannot_be_sent_again() {
        let mut client = Client { parts: vec![b"one ", b"two"], sent: 0 };
        let mut replay = Replay::new(&mut client);
        replay.keep(5);
        assert_eq!(read(&mut replay, 9), (b"one two".to_vec(), true));
        assert!(replay.is_lost() && !replay.rewind() && replay.whole().is_none());
    }

    #[test]
    fn nothing_is_kept_unless_it_is_asked_for() {
        let mut client = Client { parts: vec![b"one"], sent: 0 };
        let mut replay = Replay::new(&mut client);
        assert!(replay.rewind());
        assert_eq!(read(&mut replay, 9), (b"one".to_vec(), true));
        assert!(!replay.rewind());
    }
}
