//! Owns what network filters are lent while they are built.

use super::{Compiler, listener_filter::runtime_flag};
use crate::{
    config::{Message, model::runtime_flag::RuntimeFlag},
    network::Build,
    rbac::Rules,
    token_bucket::TokenBucket,
};

impl Build for Compiler<'_> {
    fn token_bucket(&mut self, of: &Message) -> TokenBucket {
        Compiler::token_bucket(self, of)
    }

    fn runtime_enabled(&mut self, of: &Message) -> RuntimeFlag {
        runtime_flag(of, "runtime_enabled")
    }

    /// Rules about requests say nothing of a connection. Observed: Envoy 1.40 refuses them as well.
    fn rules(&mut self, of: &Message, field: &str) -> Option<Rules> {
        let rules = self.rbac_rules(of, field)?;
        if let Some(name) = rules.of_requests() {
            let text = format!("Found header({name}) rule, not supported by RBAC network filter");
            self.error(of.at_of(field), &of.path_of(field), text, "use the HTTP filter");
        }
        Some(rules)
    }
}
