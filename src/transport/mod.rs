//! Owns transport sockets: what stands between a codec and the network, plain or TLS, towards clients and hosts alike.

mod client_hello;
mod fingerprint;
mod handshake;
mod hello;
mod peek;
mod plain;
mod reason;
mod stream;

pub use handshake::{HandshakeError, Unfinished, accept, connect};
pub use hello::{Hello, Takes, Told};
pub use peek::{Look, Peeked, peek};
pub use reason::NotTls;
pub use stream::{ReadHalf, Stream, WriteHalf};
