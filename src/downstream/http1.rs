//! Owns an HTTP/1 connection of a client: one request after the other, each with its exchange.

mod connection;
mod request;
mod response;

pub(super) use connection::serve;
