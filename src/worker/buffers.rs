//! Owns a worker's read and write buffers: a connection that waits holds none.

use std::{
    cell::RefCell,
    mem,
    ops::{Deref, DerefMut},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at a time. A read that is shorter clears tokio's readiness, which saves the read that
/// would only say `EAGAIN`.
pub const READ_BYTES: usize = 16 * 1024;

/// Buffers that a worker keeps at most; more are freed.
const KEPT_MAX: usize = 256;

/// A buffer that grew beyond this is freed rather than kept.
const KEPT_BYTES_MAX: usize = 4 * READ_BYTES;

/// The pool of one worker.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    free: Rc<RefCell<Vec<Vec<u8>>>>,
}

/// Bytes with a consumed front. Goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    pool: Buffers,
}

// === impl Buffers ===

impl Buffers {
    /// An empty buffer with room for a read.
    pub fn take(&self) -> Buffer {
        let bytes = self.free.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(READ_BYTES));
        Buffer { bytes, start: 0, pool: self.clone() }
    }

    /// Reads into `slot`; a buffer is taken for the read and given back at once if nothing came.
    /// Resolves to the number of bytes; 0 is the end of the stream.
    pub fn poll_read<R: AsyncRead>(
        &self,
        cx: &mut Context<'_>,
        reader: Pin<&mut R>,
        slot: &mut Option<Buffer>,
    ) -> Poll<std::io::Result<usize>> {
        if let Some(buffer) = slot {
            buffer.make_room();
            return poll_append(&mut buffer.bytes, cx, reader);
        }
        // Read where the buffer lies: mostly nothing has come yet, and it can stay there.
        let mut free = self.free.borrow_mut();
        if free.is_empty() {
            free.push(Vec::with_capacity(READ_BYTES));
        }
        let Some(next) = free.last_mut() else { return Poll::Pending };
        let read = ready!(poll_append(next, cx, reader))?;
        if read > 0 {
            let bytes = free.pop().unwrap_or_default();
            *slot = Some(Buffer { bytes, start: 0, pool: self.clone() });
        }
        Poll::Ready(Ok(read))
    }
}

// === impl Buffer ===

impl Buffer {
    /// Marks the first `count` bytes as done with.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// The vector behind the unconsumed bytes, for appending.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes room for at least one more read, moving what is unconsumed to the front if that helps.
    fn make_room(&mut self) {
        if self.bytes.capacity() - self.bytes.len() >= READ_BYTES / 4 {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 4 {
            self.bytes.reserve(READ_BYTES);
        }
    }
}

/// Reads into the room behind what a vector holds.
fn poll_append<R: AsyncRead>(
    bytes: &mut Vec<u8>,
    cx: &mut Context<'_>,
    reader: Pin<&mut R>,
) -> Poll<std::io::Result<usize>> {
    let filled = bytes.len();
    let mut into = ReadBuf::uninit(bytes.spare_capacity_mut());
    ready!(reader.poll_read(cx, &mut into))?;
    let read = into.filled().len();
    commit(bytes, filled, read);
    Poll::Ready(Ok(read))
}

/// Makes the bytes that a read has just written part of the vector.
#[expect(
    unsafe_code,
    reason = "the one place where a read's bytes join a buffer without being zeroed first"
)]
fn commit(bytes: &mut Vec<u8>, filled: usize, read: usize) {
    debug_assert!(filled + read <= bytes.capacity());
    // SAFETY: `ReadBuf::filled` says that `read` bytes after `filled` are initialized, and they lie in
    // the spare capacity the `ReadBuf` was made from.
    unsafe { bytes.set_len(filled + read) };
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        let mut free = self.pool.free.borrow_mut();
        if free.len() < KEPT_MAX && bytes.capacity() <= KEPT_BYTES_MAX && bytes.capacity() > 0 {
            bytes.clear();
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_buffer_goes_back_when_nothing_came_and_when_it_is_dropped() {
        let pool = Buffers::default();
        let (mut near, far) = tokio::io::duplex(64);
        let mut slot = None;
        let nothing = poll_fn(|cx| {
            Poll::Ready(pool.poll_read(cx, Pin::new(&mut near), &mut slot).is_pending())
        });
        assert!(nothing.await);
        assert!(slot.is_none());
        assert_eq!(pool.free.borrow().len(), 1);
        drop(far);
        let read = poll_fn(|cx| pool.poll_read(cx, Pin::new(&mut near), &mut slot)).await;
        assert_eq!(read.unwrap(), 0);
        assert_eq!(pool.free.borrow().len(), 1);
    }

    #[test]
    fn what_is_consumed_is_gone_and_the_rest_stays() {
        let mut buffer = Buffers::default().take();
        buffer.tail().extend_from_slice(b"GET /");
        buffer.consume(4);
        assert_eq!(&*buffer, b"/");
        buffer.consume(9);
        assert!(buffer.is_empty());
    }
}
