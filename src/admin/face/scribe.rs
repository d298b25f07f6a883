//! Owns the making of large answers: off the admin port's thread, a piece at a time, each in its turn.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinError};

/// Pieces that are made at the same time. One: large answers shall take a core from the traffic at most.
const HANDS: usize = 1;

/// Bytes at which a piece is given away.
const PIECE_BYTES: usize = 64 * 1024;

/// An answer's rest.
pub(super) type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A piece, and what comes after it.
pub(super) type Piece = (Vec<u8>, Option<Pieces>);

/// Makes large answers. Whoever asks waits in a queue, and leaves it when they are dropped; so a hundred
/// scrapes are as many answers on their way and one at work, and a slow reader keeps nobody from it.
#[derive(Clone)]
pub(super) struct Scribe {
    turns: Arc<Semaphore>,
}

// === impl Scribe ===

impl Scribe {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(HANDS)) }
    }

    /// Does `work` when its turn comes.
    ///
    /// # Errors
    ///
    /// It panicked, or the process ends.
    pub(super) async fn make<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // It is never closed; without a turn the work would be done all the same.
        let turn = self.turns.acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            // Kept to the work's end, also when nobody waits for it any more.
            let _turn = turn;
            work()
        })
        .await
    }
}

/// The next piece, and what comes after it.
pub(super) fn next(mut pieces: Pieces) -> Piece {
    let mut out = Vec::new();
    while out.len() < PIECE_BYTES {
        match pieces.next() {
            Some(piece) if out.is_empty() => out = piece,
            Some(piece) => out.extend_from_slice(&piece),
            None => return (out, None),
        }
    }
    (out, Some(pieces))
}
