//! Owns network filters: what becomes of a connection that carries no HTTP. One file each.

mod splice;
mod tcp_proxy;

pub use tcp_proxy::TcpProxy;
