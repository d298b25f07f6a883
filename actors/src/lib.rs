//! The control plane of Understudy: supervised actors own all state that outlives a request, and
//! publish it. The data plane (the crate above) reads what was published and never asks an actor.

pub mod address;
mod admin;
pub mod by_hand;
mod cluster;
pub mod command;
pub mod company;
mod configuration;
pub mod configured;
mod connection;
mod dns_refresh;
pub mod event;
pub mod failures;
#[cfg(test)]
mod fakes;
mod health_check;
pub mod limits;
mod listener;
pub mod log_levels;
pub mod names;
pub mod on_demand;
pub mod outlier;
mod places;
pub mod plan;
pub mod published;
pub mod reported;
pub mod resources;
pub mod roster;
mod routes;
pub mod runtime;
pub mod seams;
pub mod secrets;
pub mod server_state;
mod settings;
mod shares;
pub mod snapshot;
pub mod socket;
pub mod socket_option;
pub mod stage;
pub mod stats;
mod supervise;
mod supervisor;
pub mod view;
mod watch;
mod worker;

pub use command::{Applied, Command};
pub use company::{ApplyError, Commander, Company, Exit};
pub use published::{Cached, Published, Publisher};
pub use stage::{House, Options, Seams};
pub use supervisor::BindError;
