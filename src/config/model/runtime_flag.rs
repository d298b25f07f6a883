//! Owns `RuntimeFeatureFlag`: a switch with a key in the runtime.

use understudy_actors::runtime::Runtime;

/// On or off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFlag {
    /// `default_value`
    pub default: bool,
    /// `runtime_key`; empty for none.
    pub key: String,
}

// === impl RuntimeFlag ===

impl RuntimeFlag {
    /// Always on: what a filter without a flag has.
    pub const fn on() -> Self {
        Self { default: true, key: String::new() }
    }

    /// Whether it is on.
    pub fn is_on(&self, runtime: &Runtime) -> bool {
        match self.key.is_empty() {
            true => self.default,
            false => runtime.boolean(&self.key, self.default),
        }
    }
}
