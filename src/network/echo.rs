//! `envoy.filters.network.echo`: a client is sent what it has sent.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use understudy_actors::seams::{Control, Drain};

use super::{
    line::Line,
    splice::{Flow, Moved},
};
use crate::{
    access_log::Writer,
    config::model::listener::{self, FilterChainInfo},
    downstream::{Arrival, logs::Log, serve::Worker},
};

/// The filter on one worker.
pub struct Echo {
    config: Arc<listener::Plain>,
    logs: Vec<Log>,
}

// === impl Echo ===

impl Echo {
    /// Its listener's logs.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// `FilterChain.name`
    pub fn filter_chain(&self) -> &FilterChainInfo {
        &self.config.filter_chain
    }

    /// The worker's side of `config`.
    pub fn new(config: Arc<listener::Plain>, writer: &Writer) -> Self {
        Self { logs: Log::open(&config.listener_logs, writer), config }
    }

    /// Serves a connection to its end.
    pub async fn serve(
        self: Rc<Self>,
        worker: Rc<Worker>,
        mut arrival: Arrival,
        control: Rc<Control>,
    ) {
        let (mut line, mut flow) = (Line::begin(), Flow::default());
        poll_fn(|cx| {
            let (mut from, mut to) = arrival.stream.split();
            let poll = flow.poll(cx, &mut from, &mut to, &worker.buffers, |moved| match moved {
                Moved::Read(count) => line.received += count as u64,
                Moved::Written(count) => line.sent += count as u64,
            });
            if poll.is_ready() { Poll::Ready(()) } else { poll_told(&control, cx) }
        })
        .await;
        line.write(&worker, &arrival, &self.config.filter_chain, &self.logs);
    }
}

/// Ready when we are told to end.
fn poll_told(control: &Control, cx: &mut Context<'_>) -> Poll<()> {
    if control.drain() == Drain::Now {
        return Poll::Ready(());
    }
    control.register(cx.waker());
    Poll::Pending
}
