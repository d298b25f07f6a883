//! `envoy.filters.network.direct_response`: says one thing to each client, and closes.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::line::Line;
use crate::{
    access_log::Writer,
    config::model::listener::{self, FilterChainInfo},
    downstream::{Arrival, logs::Log, serve::Worker},
};

/// How long we wait for the client to read it, and to go.
const FAREWELL_WAIT: Duration = Duration::from_secs(1);

/// Bytes of a client's that are thrown away meanwhile.
const UNWANTED_MAX: usize = 256 * 1024;

/// The filter on one worker.
pub struct DirectResponse {
    config: Arc<listener::Plain>,
    response: Arc<[u8]>,
    logs: Vec<Log>,
}

// === impl DirectResponse ===

impl DirectResponse {
    /// Its listener's logs.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// `FilterChain.name`
    pub fn filter_chain(&self) -> &FilterChainInfo {
        &self.config.filter_chain
    }

    /// The worker's side of `config`.
    pub fn new(config: Arc<listener::Plain>, response: Arc<[u8]>, writer: &Writer) -> Self {
        Self { logs: Log::open(&config.listener_logs, writer), config, response }
    }

    /// Serves a connection to its end. A client that does not read is waited for as long as one that does not go.
    pub async fn serve(self: Rc<Self>, worker: Rc<Worker>, mut arrival: Arrival) {
        let mut line = Line { details: "direct_response", ..Line::begin() };
        let saying = async {
            arrival.stream.write_all(&self.response).await?;
            arrival.stream.flush().await?;
            arrival.stream.shutdown().await
        };
        if let Ok(Ok(())) = timeout(FAREWELL_WAIT, saying).await {
            line.sent = self.response.len() as u64;
            // To close with something unread would take our words from the client.
            let (mut unwanted, mut left) = ([0; 1024], UNWANTED_MAX);
            let reading = async {
                while let Ok(count @ 1..) = arrival.stream.read(&mut unwanted).await {
                    left = left.saturating_sub(count);
                    if left == 0 {
                        break;
                    }
                }
            };
            let _ = timeout(FAREWELL_WAIT, reading).await;
        }
        line.write(&worker, &arrival, &self.config.filter_chain, &self.logs);
    }
}
