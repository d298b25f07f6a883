//! Owns what the connection manager and the router do to headers on their way through.
//!
//! Source: Envoy's "HTTP header manipulation" documents; every rule was observed on Envoy 1.40.

mod client;
mod client_certificate;
mod hop_by_hop;
mod mutation;
mod paths;
mod redirect;
mod referer;
mod request;
mod response;
mod rewrite;

pub use paths::path_rules;
pub(super) use redirect::redirect;
pub use request::own_address;
pub(super) use request::{empty_length, expected_timeout, grpc_timeout, request};
pub(super) use response::{
    Local, add_to_reply, begin_reply, continue_head, finish_reply, finish_response, is_grpc,
    local_reply, response,
};
pub(super) use rewrite::{change_host, direct_response, rewrite, rewrite_to_upstream};
