//! Owns the client's side: from an accepted socket to an exchange, and back.

mod apart;
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

pub use headers::{own_address, path_rules};
pub use serve::DataPlane;
