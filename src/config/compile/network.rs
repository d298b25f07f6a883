//! Owns what network filters are lent while they are built.

use super::{Compiler, listener_filter::runtime_flag, rbac::OfConnections};
use crate::{
    config::{Message, model::runtime_flag::RuntimeFlag},
    network::Build,
    rbac::{EnforcementMode, Engine},
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
    fn engine(&mut self, of: &Message, mode: EnforcementMode) -> Option<Engine> {
        let engine = self.rbac_engine(of, mode, &OfConnections)?;
        if let Engine::Rules(rules) = &engine
            && let Some(name) = rules.of_requests()
        {
            let text = format!("Found header({name}) rule, not supported by RBAC network filter");
            let field = match mode {
                EnforcementMode::Enforced => "rules",
                EnforcementMode::Shadow => "shadow_rules",
            };
            self.error(of.at_of(field), &of.path_of(field), text, "use the HTTP filter");
        }
        Some(engine)
    }
}
