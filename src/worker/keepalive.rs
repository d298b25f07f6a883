//! Owns asking the other end of an HTTP/2 connection whether it is still there (`connection_keepalive`).

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};

use super::{Deadline, Deadlines, Tick};
use crate::config::model::keepalive::Keepalive;

/// Asks, and knows when nothing was heard for too long. Belongs to the connection's task.
pub struct Pinger {
    options: Keepalive,
    pings: PingPong,
    signs: Rc<Signs>,
    deadline: Deadline,
    asked: bool,
}

/// What a connection's socket and its streams tell its [`Pinger`].
pub struct Signs {
    deadlines: Deadlines,
    idle_interval: Option<Duration>,
    /// When something came last.
    heard_at: Cell<Tick>,
    /// Something has come since the pinger looked.
    heard: Cell<bool>,
    /// A stream begins after a long silence.
    doubted: Cell<bool>,
}

// === impl Signs ===

impl Signs {
    /// Of a connection that begins.
    pub fn new(options: &Keepalive, deadlines: &Deadlines) -> Rc<Self> {
        Rc::new(Self {
            deadlines: deadlines.clone(),
            idle_interval: options.idle_interval,
            heard_at: Cell::new(deadlines.coarse_now()),
            heard: Cell::new(false),
            doubted: Cell::new(false),
        })
    }

    /// Something has come.
    pub fn hear(&self) {
        self.heard.set(true);
        self.heard_at.set(self.deadlines.coarse_now());
    }

    /// A stream of ours begins.
    pub fn begin_stream(&self) {
        let silence = self.deadlines.coarse_now().since(self.heard_at.get());
        if self.idle_interval.is_some_and(|interval| silence > interval) {
            self.doubted.set(true);
        }
    }
}

// === impl Pinger ===

impl Pinger {
    /// Begins with a wait. None where the connection's pings are taken.
    pub fn begin(options: &Keepalive, pings: Option<PingPong>, signs: Rc<Signs>) -> Option<Self> {
        let deadline = signs.deadlines.deadline();
        let mut pinger =
            Self { options: options.clone(), pings: pings?, signs, deadline, asked: false };
        pinger.wait();
        Some(pinger)
    }

    /// To be called before the connection is polled: a question goes ahead of the stream that has doubts.
    pub fn before_streams(&mut self) {
        if self.signs.doubted.take() && !self.asked {
            self.ask();
        }
    }

    /// Ready when there was no answer within `timeout`. To be called after the connection was polled.
    ///
    /// Observed: Envoy 1.40 takes whatever comes for a sign of life; only an answer ends the question.
    pub fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let heard = self.signs.heard.take();
            if self.asked {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.wait();
                        continue;
                    }
                    // The connection has ended, and says so itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending if heard => self.deadline.arm(self.options.timeout),
                    Poll::Pending => {}
                }
            }
            match self.deadline.poll_passed(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if self.asked => return Poll::Ready(()),
                Poll::Ready(()) => self.ask(),
            }
        }
    }

    fn ask(&mut self) {
        // Fails only where the connection has ended, or where a question is on its way already.
        let _ = self.pings.send_ping(Ping::opaque());
        self.asked = true;
        self.deadline.arm(self.options.timeout);
    }

    fn wait(&mut self) {
        self.asked = false;
        let percent = fastrand::u32(..self.options.interval_jitter_percent.max(1));
        let interval = self.options.interval;
        self.deadline.arm_or_disarm(
            interval
                .map(|interval| interval.saturating_add(interval.saturating_mul(percent) / 100)),
        );
    }
}
