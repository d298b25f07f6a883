//! Understudy, an Envoy-compatible L7 edge proxy: configuration, data plane, admin face.

pub mod access_log;
pub mod admin;
pub mod admission;
mod base64;
pub mod cli;
pub mod codec;
pub mod config;
pub mod demo;
pub mod discovery;
pub mod downstream;
pub mod filter;
pub mod format;
pub mod loader;
pub mod local_reply;
pub mod logging;
pub mod matcher;
mod numbers;
pub mod path;
pub mod re2;
pub mod route;
pub mod server;
pub mod stream;
pub mod upstream;
pub mod uri_template;
pub mod version;
pub mod worker;
mod xxhash;
