//! Owns how the world is asked on the control plane's behalf: names in DNS, and hosts about their health.

mod probe;
mod resolver;

pub use probe::Prober;
pub use resolver::Resolver;
