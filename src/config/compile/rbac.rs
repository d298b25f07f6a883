//! Owns compiling the rules of role-based access control.

use ipnet::IpNet;

use super::Compiler;
use crate::{
    config::{Message, diagnostic::Span, message::Value},
    rbac::{Action, Noted, Policy, Rule, Rules},
};

impl Compiler<'_> {
    /// `envoy.config.rbac.v3.RBAC` in `field`; none where it is not set.
    pub(super) fn rbac_rules(&mut self, of: &Message, field: &str) -> Option<Rules> {
        let other = if field == "rules" { "matcher" } else { "shadow_matcher" };
        self.refuse_access_matcher(of, other);
        let set = of.message(field)?;
        let action = match set.choice("action") {
            Some("DENY") => Action::Deny,
            Some("LOG") => Action::Log,
            _ => Action::Allow,
        };
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
            self.refuse_for_good(unread.at, &unread.path, unread.name);
            of.ignore(field, "what is wrong with it was told");
        }
        Some(Rules { action, policies })
    }

    /// The other way to say who may, in the place of rules.
    fn refuse_access_matcher(&mut self, of: &Message, name: &str) {
        if of.peek(name).is_some() {
            of.ignore(name, "it is refused");
            self.refuse_for_good(of.at_of(name), &of.path_of(name), name);
        }
    }

    fn refuse_for_good(&mut self, at: Span, path: &str, name: &str) {
        let text = format!("`{name}` is known to Envoy, and not supported by Understudy yet");
        self.error(at, path, text, "say it by rules: who may is never left out");
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
