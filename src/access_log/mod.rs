//! Owns the access log: what is known of an exchange, its line, and the thread that writes it; and the
//! logs of what happens to hosts.

mod events;
mod filter;
mod flags;
mod line;
mod writer;

pub use filter::{Comparison, LogFilter, Op, Seen};
pub use flags::{ResponseFlag, ResponseFlags};
pub use line::Record;
pub use writer::{Flushing, OpenError, SinkId, Writer};
