//! Owns the way to an upstream host: the worker's view of clusters, the balancer, the pools.

mod aggregate;
pub mod balancer;
mod breakers;
pub mod cluster;
pub mod connect;
pub mod http1;
pub mod http2;
pub mod load_report;
pub mod original_dst;
mod outlier;
pub mod pool;
pub mod proxy_protocol;
mod send;
pub mod socket;
pub mod tcp;

pub use aggregate::Aggregate;
pub use cluster::{Cluster, Clusters, Current, Dropped, Limits};
