//! Owns compiling the rules of role-based access control.

use ipnet::IpNet;

use super::{Compiler, matcher_tree::Place};
use crate::{
    config::{
        Message,
        message::{AnyValue, Value},
    },
    matcher::tree::Input,
    rbac::{Action, EnforcementMode, Engine, Named, Noted, Policy, Rule, Rules},
};

const ACTION: &str = "envoy.config.rbac.v3.Action";

/// `action` of rules or of a matcher.
fn rbac_choice(set: &Message) -> Action {
    match set.choice("action") {
        Some("DENY") => Action::Deny,
        Some("LOG") => Action::Log,
        _ => Action::Allow,
    }
}

/// Rules of `envoy.filters.http.rbac`.
pub(super) struct OfRequests;

/// Rules of `envoy.filters.network.rbac`.
pub(super) struct OfConnections;

// Observed: Envoy 1.40, each input in each of the two.
impl Place for OfRequests {
    type Action = Named;
    const WHO: &'static str = "RBAC HTTP filter";

    fn sees(&self, input: &Input) -> bool {
        matches!(input, Input::Header(_)) || OfConnections.sees(input)
    }

    fn action(&self, compiler: &mut Compiler<'_>, action: &AnyValue) -> Option<Named> {
        compiler.rbac_action(action)
    }
}

impl Place for OfConnections {
    type Action = Named;
    const WHO: &'static str = "RBAC network filter";

    fn sees(&self, input: &Input) -> bool {
        !matches!(
            input,
            Input::Header(_)
                | Input::SourceType
                | Input::TransportProtocol
                | Input::ApplicationProtocols
        )
    }

    fn action(&self, compiler: &mut Compiler<'_>, action: &AnyValue) -> Option<Named> {
        compiler.rbac_action(action)
    }
}

impl Compiler<'_> {
    /// What says who may: the matcher, or else the rules; none where neither is set.
    pub(super) fn rbac_engine<P: Place<Action = Named>>(
        &mut self,
        of: &Message,
        mode: EnforcementMode,
        place: &P,
    ) -> Option<Engine> {
        let (rules, matcher) = match mode {
            EnforcementMode::Enforced => ("rules", "matcher"),
            EnforcementMode::Shadow => ("shadow_rules", "shadow_matcher"),
        };
        if of.peek(matcher).is_none() {
            return self.rbac_rules(of, rules).map(Engine::Rules);
        }
        if let Some(set) = of.peek(rules) {
            // Observed: Envoy 1.40.
            let text = format!("`{rules}` are ignored where there is a `{matcher}`");
            self.notes.warning(set.key_at, &of.path_of(rules), text, "remove them");
            of.ignore(rules, "the matcher decides");
        }
        self.matcher_tree(of, matcher, place).map(Engine::Matcher)
    }

    /// `envoy.config.rbac.v3.Action`
    pub(super) fn rbac_action(&mut self, action: &AnyValue) -> Option<Named> {
        let config = &action.message;
        if config.name() != ACTION {
            self.other_extension(config, ACTION, "action of access control");
            return None;
        }
        let name = config.text("name").unwrap_or_default().to_owned();
        Some(Named { name, action: rbac_choice(config) })
    }

    /// `envoy.config.rbac.v3.RBAC` in `field`; none where it is not set.
    fn rbac_rules(&mut self, of: &Message, field: &str) -> Option<Rules> {
        let set = of.message(field)?;
        let action = rbac_choice(set);
        let mut policies = Vec::new();
        for (name, item) in set.map("policies") {
            let Value::Message(policy) = &item.value else { continue };
            let permissions = policy.messages("permissions");
            let permissions = permissions.filter_map(|rule| self.permission(rule)).collect();
            let principals = policy.messages("principals");
            let principals = principals.filter_map(|rule| self.principal(rule)).collect();
            policies.push(Policy { name: name.clone(), permissions, principals });
        }
        policies.sort_by(|one, two| one.name.cmp(&two.name));
        // Rules of which a part is left out let others through than they say, `--skip-unsupported` or not.
        for unread in set.unread() {
            self.refuse_for_good(unread.at, &unread.path, &format!("`{}`", unread.name));
            of.ignore(field, "what is wrong with it was told");
        }
        Some(Rules { action, policies })
    }

    /// What is not read here is refused by name.
    fn permission(&mut self, set: &Message) -> Option<Rule> {
        if let Some(all) = set.message("and_rules") {
            let rules = all.messages("rules").filter_map(|rule| self.permission(rule));
            return Some(Rule::All(rules.collect()));
        }
        if let Some(either) = set.message("or_rules") {
            let rules = either.messages("rules").filter_map(|rule| self.permission(rule));
            return Some(Rule::Either(rules.collect()));
        }
        if let Some(not) = set.message("not_rule") {
            return self.permission(not).map(|rule| Rule::Not(Box::new(rule)));
        }
        if let Some(range) = set.message("destination_ip") {
            return self.range(range).map(Rule::DestinationIp);
        }
        if let Some(port) = set.number("destination_port") {
            return u16::try_from(port).ok().map(Rule::DestinationPort);
        }
        if let Some(range) = set.message("destination_port_range") {
            let bound = |name| range.integer(name).unwrap_or(0);
            return Some(Rule::DestinationPorts(bound("start"), bound("end")));
        }
        if let Some(name) = set.message("requested_server_name") {
            return self.text_matcher(name).map(Rule::ServerName);
        }
        self.of_either(set)
    }

    fn principal(&mut self, set: &Message) -> Option<Rule> {
        if let Some(all) = set.message("and_ids") {
            let rules = all.messages("ids").filter_map(|rule| self.principal(rule));
            return Some(Rule::All(rules.collect()));
        }
        if let Some(either) = set.message("or_ids") {
            let rules = either.messages("ids").filter_map(|rule| self.principal(rule));
            return Some(Rule::Either(rules.collect()));
        }
        if let Some(not) = set.message("not_id") {
            return self.principal(not).map(|rule| Rule::Not(Box::new(rule)));
        }
        if let Some(authenticated) = set.message("authenticated") {
            let name = match authenticated.message("principal_name") {
                Some(name) => Some(self.text_matcher(name)?),
                None => None,
            };
            return Some(Rule::Authenticated(name));
        }
        let addresses = [
            ("source_ip", Rule::SourceIp as fn(IpNet) -> Rule),
            ("direct_remote_ip", Rule::DirectIp),
            ("remote_ip", Rule::RemoteIp),
        ];
        for (field, rule) in addresses {
            if let Some(range) = set.message(field) {
                return self.range(range).map(rule);
            }
        }
        if let Some(state) = set.message("filter_state") {
            return self.state_matcher(state).map(Rule::FilterState);
        }
        self.of_either(set)
    }

    /// What a permission may be and a principal, too.
    fn of_either(&mut self, set: &Message) -> Option<Rule> {
        if let Some(header) = set.message("header") {
            return self.header_matcher(header).map(Rule::Header);
        }
        if let Some(path) = set.message("url_path").and_then(|path| path.message("path")) {
            return self.text_matcher(path).map(Rule::Path);
        }
        if let Some(noted) = set.message("metadata") {
            return self.noted(noted);
        }
        set.boolean("any").map(|_| Rule::Any)
    }

    fn noted(&mut self, set: &Message) -> Option<Rule> {
        let keys = set.messages("path").filter_map(|segment| segment.text("key"));
        let filter = set.text("filter").into_iter();
        let path = filter.chain(keys).map(str::to_owned).collect();
        let value = set.message("value")?;
        let text = match value.message("string_match") {
            Some(text) => Some(self.text_matcher(text)?),
            // Of other values none is ever noted; they are left unread, and so refused.
            None => {
                value.boolean("present_match")?;
                None
            }
        };
        let inverted = set.boolean("invert") == Some(true);
        Some(Rule::Metadata(Noted { path, text, inverted }))
    }
}
