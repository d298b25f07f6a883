//! Owns the times of a connection that is carried: when it ends, when a line is written, when its host is looked at.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use super::tcp_proxy::End;
use crate::{
    config::model::tcp_proxy::TcpProxy,
    downstream::serve::Worker,
    worker::{Deadline, Tick},
};

/// How often a host's health is looked at, where connections to it end with it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The times that end a connection, or have a line written.
pub(super) struct Times {
    idle: Option<(Duration, Deadline)>,
    old: Option<Deadline>,
    line: Option<(Duration, Deadline)>,
    /// When the host's health is looked at next.
    look: Option<Deadline>,
    pub(super) moved: Tick,
}

// === impl Times ===

impl Times {
    pub(super) fn new(config: &TcpProxy, worker: &Worker) -> Self {
        let armed = |wait: Duration| {
            let mut deadline = worker.deadlines.deadline();
            deadline.arm(wait);
            deadline
        };
        let jitter = 1.0 + config.duration_jitter_percent / 100.0 * fastrand::f64();
        Self {
            idle: config.idle_timeout.map(|idle| (idle, armed(idle))),
            old: config.duration_max.map(|max| armed(max.mul_f64(jitter))),
            line: config.logged.every.map(|every| (every, armed(every))),
            look: None,
            moved: worker.deadlines.coarse_now(),
        }
    }

    /// From now on the host's health is looked at.
    pub(super) fn watch_health(&mut self, worker: &Worker) {
        let mut deadline = worker.deadlines.deadline();
        deadline.arm(LOOK_INTERVAL);
        self.look = Some(deadline);
    }

    /// Ready when the host's health is to be looked at.
    pub(super) fn poll_health(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.look.as_mut().map_or(Poll::Pending, |deadline| deadline.poll_passed(cx))
    }

    pub(super) fn look_again(&mut self, cx: &mut Context<'_>) {
        if let Some(deadline) = &mut self.look {
            deadline.arm(LOOK_INTERVAL);
            let _ = deadline.poll_passed(cx);
        }
    }

    /// Ready when a line is due; the next is waited for then.
    pub(super) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((every, deadline)) = &mut self.line else { return Poll::Pending };
        if deadline.poll_passed(cx).is_pending() {
            return Poll::Pending;
        }
        deadline.arm(*every);
        let _ = deadline.poll_passed(cx);
        Poll::Ready(())
    }

    /// Ready when one of them ends the connection.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Some(old) = &mut self.old
            && old.poll_passed(cx).is_ready()
        {
            return Poll::Ready(End::Old);
        }
        let Some((idle, deadline)) = &mut self.idle else { return Poll::Pending };
        while deadline.poll_passed(cx).is_ready() {
            let waited = deadline.coarse_now().since(self.moved);
            match idle.checked_sub(waited).filter(|left| !left.is_zero()) {
                // Something has come since it was armed.
                Some(left) => deadline.arm(left),
                None => return Poll::Ready(End::Idle),
            }
        }
        Poll::Pending
    }
}
