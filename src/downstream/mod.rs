//! Owns the client's side: from an accepted socket to an exchange, and back.

mod apart;
mod arrival;
mod chains;
mod connection_log;
mod count;
pub mod exchange;
mod headers;
mod http1;
mod http2;
mod http2_limits;
pub mod logs;
mod manager;
mod opened;
pub mod serve;
mod timers;
mod underscores;

pub use arrival::Arrival;
pub use headers::{own_address, path_rules};
pub use serve::DataPlane;
