//! Owns transport sockets: what stands between a codec and the network, plain or TLS, towards clients and hosts alike.

mod stream;

pub use stream::{ReadHalf, Stream, WriteHalf};
