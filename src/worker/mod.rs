//! Owns what one worker thread keeps for all its connections: buffers, the clock, deadlines.
//!
//! Everything here is `Rc` and `Cell`: nothing is shared between threads, nothing is locked.

pub mod address_text;
pub mod buffers;
pub mod clock;
mod connection_id;
pub mod deadline;
pub mod keepalive;
pub mod metered;
pub mod uuids;

pub use address_text::AddressText;
pub use buffers::{Buffer, Buffers};
pub use clock::Clock;
pub use connection_id::next_connection_id;
pub use deadline::{Deadline, Deadlines, Tick};
pub use metered::{Meter, Metered, Outbox};
pub use uuids::{UUID_BYTES, Uuids};
