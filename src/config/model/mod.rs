//! Owns the model: what the data plane reads of a configuration, compiled once and immutable.

pub mod access_log;
pub mod admin;
pub mod balancing;
pub mod client;
pub mod cluster;
pub mod cookie;
pub mod filter_chain_match;
pub mod hash_policy;
pub mod health_check;
pub mod http;
pub mod http1;
pub mod keepalive;
pub mod listener;
pub mod listener_filter;
pub mod load_report;
pub mod local_reply;
pub mod original_dst;
pub mod paths;
pub mod route;
pub mod runtime_flag;
pub mod socket;
pub mod stats;
pub mod subsets;
pub mod tcp_proxy;
pub mod upgrade;
