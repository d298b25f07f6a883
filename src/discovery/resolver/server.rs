//! Owns one name server: whether it answered last time, and what its answers say.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};
use parking_lot::Mutex;

use super::exchange::{AskError, Line};

/// How long a server that failed is left alone while another one answers.
///
/// Source: `ares_set_server_failover_options`, the default retry delay.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// One name server.
pub(super) struct Server {
    line: Line,
    /// Failures since its last answer.
    failures: AtomicU32,
    asked_at: Mutex<Option<Instant>>,
}

// === impl Server ===

impl Server {
    pub(super) fn new(at: SocketAddr, tcp_only: bool, edns: bool) -> Self {
        let line = Line::new(at, tcp_only, edns);
        Self { line, failures: AtomicU32::new(0), asked_at: Mutex::default() }
    }

    /// One query. That there is no such name, or nothing of that kind, is an answer.
    pub(super) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        wait: Duration,
    ) -> Result<Message, AskError> {
        *self.asked_at.lock() = Some(Instant::now());
        let asked = tokio::time::timeout(wait, self.line.ask(name, kind)).await;
        let answer = match asked.unwrap_or(Err(AskError::TimedOut)) {
            Ok(answer) => match answer.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
                code => Err(AskError::Code(code)),
            },
            Err(error) => {
                self.line.forget();
                Err(error)
            }
        };
        match &answer {
            Err(_) => drop(self.failures.fetch_add(1, Relaxed)),
            Ok(_) => self.failures.store(0, Relaxed),
        }
        answer
    }

    /// Failures since its last answer.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// It failed, and has been left alone for a while.
    pub(super) fn is_to_be_tried_again(&self) -> bool {
        let long_ago = |at: Instant| at.elapsed() >= LEFT_ALONE;
        self.failures() > 0 && self.asked_at.lock().is_none_or(long_ago)
    }
}
