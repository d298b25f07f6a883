//! Owns compiling `Listener.filter_chain_matcher`: a tree of matchers that names the chain of a connection.

use std::collections::HashSet;

use super::{Compiler, matcher_tree::Place};
use crate::{
    config::{
        Message,
        message::AnyValue,
        model::listener::{FilterChain, NamedChain},
    },
    matcher::tree::{Input, Tree},
};

const STRING: &str = "google.protobuf.StringValue";

/// The chains that can be named.
struct Chains<'c>(&'c [FilterChain]);

impl Place for Chains<'_> {
    type Action = NamedChain;
    const WHO: &'static str = "filter_chain_matcher";

    fn sees(&self, input: &Input) -> bool {
        !matches!(input, Input::Header(_))
    }

    /// Observed: Envoy 1.40 takes a name that no chain has, and closes the connections that it is for.
    fn action(&self, compiler: &mut Compiler<'_>, action: &AnyValue) -> Option<NamedChain> {
        let config = &action.message;
        if config.name() != STRING {
            compiler.other_extension(config, STRING, "name of a filter chain");
            return None;
        }
        let name = config.text("value").unwrap_or_default();
        let at = self.0.iter().position(|chain| chain.info.name == name);
        if at.is_none() {
            let text = format!("no filter chain is called {name:?}: its connections are closed");
            compiler.notes.warning(config.at, &config.path, text, "name one of `filter_chains`");
        }
        Some(at)
    }
}

impl Compiler<'_> {
    /// `filter_chain_matcher`, by which each chain must have a name of its own.
    pub(super) fn filter_chain_matcher(
        &mut self,
        listener: &Message,
        name: &str,
        chains: &[FilterChain],
    ) -> Option<Tree<NamedChain>> {
        listener.peek("filter_chain_matcher")?;
        let mut seen = HashSet::new();
        for chain in listener.messages("filter_chains") {
            let own = chain.peek_text("name").unwrap_or_default();
            let wrong = match (own.is_empty(), seen.insert(own)) {
                (true, _) => "\"name\" field is required when using a listener matcher".to_owned(),
                (false, false) => format!("\"name\" field is duplicated with value '{own}'"),
                (false, true) => String::new(),
            };
            if !wrong.is_empty() {
                let text = format!("error adding listener '{name}': {wrong}");
                self.error(chain.at, &chain.path, text, "give each chain a name of its own");
            }
            if let Some(set) = chain.peek("filter_chain_match") {
                // Observed: Envoy 1.40.
                let text =
                    "`filter_chain_match` is ignored where there is a `filter_chain_matcher`";
                let path = chain.path_of("filter_chain_match");
                self.notes.warning(set.key_at, &path, text, "say it in the matcher");
            }
        }
        self.matcher_tree(listener, "filter_chain_matcher", &Chains(chains))
    }
}
