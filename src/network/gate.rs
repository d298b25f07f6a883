//! Owns the way of a new connection through the network filters of its chain: it is let in, or turned away.

use std::{any::Any, sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt, time::timeout};
use understudy_actors::stats::Registry;

use super::{Decide, Farewell, Filter, Verdict, line::Line};
use crate::config::model::listener::FilterChainInfo;
use crate::downstream::{Arrival, logs::Log, serve::Worker};

/// How long a connection that is to be turned away may say nothing. Envoy waits for ever.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The filters before the last of a chain, on one worker.
pub struct Gate {
    filters: Vec<Box<dyn Decide>>,
    filter_chain: Arc<FilterChainInfo>,
    /// What is written of a connection that was turned away.
    logs: Vec<Log>,
}

/// What filters hold of a connection that was let in.
pub type Held = Vec<Box<dyn Any>>;

// === impl Gate ===

impl Gate {
    /// A worker's side of these filters, which writes to `logs`.
    pub fn new(
        filters: &[Arc<dyn Filter>],
        registry: &Registry,
        filter_chain: Arc<FilterChainInfo>,
        logs: Vec<Log>,
    ) -> Self {
        let filters = filters.iter().map(|filter| filter.clone().run(registry)).collect();
        Self { filters, filter_chain, logs }
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.filters.is_empty()
    }

    /// Asks each filter; `None` where the connection was turned away.
    pub async fn pass(&self, worker: &Worker, arrival: &mut Arrival) -> Option<Held> {
        let mut held = Held::new();
        for filter in &self.filters {
            match filter.on_connection(worker, arrival) {
                Verdict::Continue => {}
                Verdict::Hold(this) => held.push(this),
                Verdict::TurnAway(farewell) => {
                    self.turn_away(worker, arrival, &**filter, &farewell).await;
                    return None;
                }
            }
        }
        Some(held)
    }

    async fn turn_away(
        &self,
        worker: &Worker,
        arrival: &mut Arrival,
        filter: &dyn Decide,
        farewell: &Farewell,
    ) {
        let mut line = Line::begin();
        let speaks = match farewell.once_it_speaks {
            true => timeout(SILENCE_MAX, read(arrival)).await.unwrap_or(Some(0)),
            false => Some(0),
        };
        if let Some(first) = speaks {
            filter.turned_away(worker, arrival);
            line.received += first;
            line.termination_details = &farewell.details;
            if let Some(flag) = farewell.flag {
                line.flags.insert(flag);
            }
            // Who must wait may say what it likes, and may leave.
            let waiting = async {
                while let Some(count) = read(arrival).await {
                    line.received += count;
                }
            };
            if !farewell.delay.is_zero() {
                let _ = timeout(farewell.delay, waiting).await;
            }
        }
        line.write(worker, arrival, &self.filter_chain, &self.logs);
    }
}

/// How many bytes have come, which nobody wants; none once no more will.
async fn read(arrival: &mut Arrival) -> Option<u64> {
    let mut unwanted = [0; 1024];
    match arrival.stream.read(&mut unwanted).await {
        Ok(count @ 1..) => Some(count as u64),
        Ok(0) | Err(_) => None,
    }
}
