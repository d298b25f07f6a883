//! Owns role-based access control: whether a connection or a request is allowed, for the network filter and the HTTP filter alike.
//!
//! Source: `envoy/config/rbac/v3/rbac.proto`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use understudy_actors::{address::Address, runtime::Runtime};

use crate::{
    codec::RequestHead,
    filter_state::FilterState,
    matcher::{
        HeaderMatcher, StateMatcher, TextMatcher,
        tree::{Facts, Outcome, Tree},
    },
    tls::{Session, SubjectAltName},
};

/// Which of a filter's engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnforcementMode {
    /// The one in force.
    Enforced,
    /// The one whose judgements are only counted.
    Shadow,
}

/// What says who may.
#[derive(Clone, Debug)]
pub enum Engine {
    /// `rules`
    Rules(Rules),
    /// `matcher`: who meets none of its actions may not.
    Matcher(Tree<Named>),
}

/// `envoy.config.rbac.v3.Action`
#[derive(Clone, Debug)]
pub struct Named {
    /// `name`
    pub name: String,
    /// `action`
    pub action: Action,
}

/// `RBAC`
#[derive(Clone, Debug)]
pub struct Rules {
    /// `action`
    pub action: Action,
    /// `policies`, by name: the first that matches is the one that is named.
    pub policies: Vec<Policy>,
}

/// What becomes of who matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They alone are allowed.
    Allow,
    /// They are denied.
    Deny,
    /// Everybody is allowed; of a matcher, they are.
    Log,
}

/// `Policy`
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its key.
    pub name: String,
    /// `permissions`: one of them must hold.
    pub permissions: Vec<Rule>,
    /// `principals`: and one of these.
    pub principals: Vec<Rule>,
}

/// A `Permission` or a `Principal`.
#[derive(Clone, Debug)]
pub enum Rule {
    /// `any`
    Any,
    /// `and_rules`, `and_ids`
    All(Vec<Rule>),
    /// `or_rules`, `or_ids`
    Either(Vec<Rule>),
    /// `not_rule`, `not_id`
    Not(Box<Rule>),
    /// `destination_ip`
    DestinationIp(IpNet),
    /// `destination_port`
    DestinationPort(u16),
    /// `destination_port_range`: from the first, up to but without the second.
    DestinationPorts(i64, i64),
    /// `requested_server_name`
    ServerName(TextMatcher),
    /// `source_ip`: who the connection is from.
    SourceIp(IpNet),
    /// `direct_remote_ip`: whose socket it is.
    DirectIp(IpNet),
    /// `remote_ip`: who the request is from.
    RemoteIp(IpNet),
    /// `authenticated`: by TLS, and as whom.
    Authenticated(Option<TextMatcher>),
    /// `header`
    Header(HeaderMatcher),
    /// `url_path`: without its query.
    Path(TextMatcher),
    /// `filter_state` that listener filters have left.
    FilterState(StateMatcher),
    /// `metadata` that listener filters have noted: where it is, and what it must be.
    Metadata(Noted),
}

/// `MetadataMatcher`
#[derive(Clone, Debug)]
pub struct Noted {
    /// `filter`, and the keys below it.
    pub path: Vec<String>,
    /// What is there must be a text like that; none where it must only be there.
    pub text: Option<TextMatcher>,
    /// `invert`
    pub inverted: bool,
}

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who the connection is from.
    pub source: Address,
    /// Whose socket it is.
    pub direct: Address,
    /// Who the request is from.
    pub remote: Option<IpAddr>,
    /// Somebody has named it: of such a one only the address is known.
    pub named: bool,
    /// Where it was meant to go.
    pub destination: Address,
    /// Which host was asked for (SNI).
    pub server_name: &'a str,
    /// What its handshake came to.
    pub tls: Option<&'a Session>,
    /// The request; none for a connection.
    pub request: Option<&'a RequestHead>,
    /// What was noted of the connection.
    pub metadata: Option<&'a serde_json::Value>,
    /// What was left of it for others.
    pub filter_state: Option<&'a FilterState>,
    /// Runtime values.
    pub runtime: &'a Runtime,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'r> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policy that matched.
    pub policy: Option<&'r str>,
}

// === impl Engine ===

impl Engine {
    /// Whether the subject may.
    pub fn judge(&self, subject: &Subject<'_>) -> Judgement<'_> {
        let tree = match self {
            Engine::Rules(rules) => return rules.judge(subject),
            Engine::Matcher(tree) => tree,
        };
        match tree.find(&subject.facts()) {
            Outcome::Action(named) => Judgement {
                allowed: named.action != Action::Deny,
                policy: Some(named.name.as_str()),
            },
            Outcome::NoMatch | Outcome::Undecided => Judgement { allowed: false, policy: None },
        }
    }
}

// === impl Judgement ===

impl Judgement<'_> {
    /// What is told of who may not. Blanks become underscores. Observed: Envoy 1.40.
    pub fn details(&self) -> String {
        let policy = self.policy.unwrap_or("none");
        let plain = |letter: char| if letter.is_ascii_whitespace() { '_' } else { letter };
        let policy = policy.chars().map(plain).collect::<String>();
        format!("rbac_access_denied_matched_policy[{policy}]")
    }
}

// === impl Subject ===

impl<'a> Subject<'a> {
    /// What matchers see of it.
    fn facts(&self) -> Facts<'a> {
        let source = match self.named {
            true => self.remote.map(|ip| SocketAddr::new(ip, 0)),
            false => self.source.socket(),
        };
        Facts {
            destination: self.destination.socket(),
            source,
            direct_source: self.direct.ip(),
            server_name: self.server_name,
            tls: self.tls,
            request: self.request,
            filter_state: self.filter_state,
            shares: Some(self.runtime),
            ..Facts::default()
        }
    }
}

// === impl Rules ===

impl Rules {
    /// A rule that only a request can meet, by the name of what it looks at.
    pub fn of_requests(&self) -> Option<String> {
        let rules = self.policies.iter().flat_map(|p| p.permissions.iter().chain(&p.principals));
        rules.filter_map(Rule::of_requests).next()
    }

    /// Whether the subject may.
    pub fn judge(&self, subject: &Subject<'_>) -> Judgement<'_> {
        let matched = self.policies.iter().find(|policy| policy.matches(subject));
        let allowed = match self.action {
            Action::Allow => matched.is_some(),
            Action::Deny => matched.is_none(),
            Action::Log => true,
        };
        Judgement { allowed, policy: matched.map(|policy| policy.name.as_str()) }
    }
}

impl Policy {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.holds(subject));
        any(&self.permissions) && any(&self.principals)
    }
}

// === impl Rule ===

impl Rule {
    fn of_requests(&self) -> Option<String> {
        match self {
            Rule::Header(header) => Some(String::from_utf8_lossy(header.name()).into_owned()),
            Rule::Path(_) => Some(":path".to_owned()),
            Rule::All(rules) | Rule::Either(rules) => rules.iter().find_map(Rule::of_requests),
            Rule::Not(rule) => rule.of_requests(),
            _ => None,
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        // Who comes by a path has no address.
        let within = |range: &IpNet, ip: Option<IpAddr>| {
            ip.is_some_and(|ip| range.contains(&ip.to_canonical()))
        };
        match self {
            Rule::Any => true,
            Rule::All(rules) => rules.iter().all(|rule| rule.holds(subject)),
            Rule::Either(rules) => rules.iter().any(|rule| rule.holds(subject)),
            Rule::Not(rule) => !rule.holds(subject),
            Rule::DestinationIp(range) => within(range, subject.destination.ip()),
            Rule::DestinationPort(port) => subject.destination.port() == Some(*port),
            Rule::DestinationPorts(from, to) => {
                let port = subject.destination.port();
                port.is_some_and(|port| (*from..*to).contains(&i64::from(port)))
            }
            Rule::ServerName(name) => name.matches(subject.server_name.as_bytes()),
            Rule::SourceIp(range) => within(range, subject.source.ip()),
            Rule::DirectIp(range) => within(range, subject.direct.ip()),
            Rule::RemoteIp(range) => within(range, subject.remote),
            Rule::Authenticated(name) => is_authenticated(subject.tls, name.as_ref()),
            Rule::Header(header) => subject.request.is_some_and(|request| header.matches(request)),
            Rule::Path(path) => subject.request.is_some_and(|request| {
                let end = request.path().iter().position(|byte| b"?#".contains(byte));
                let plain = request.path().get(..end.unwrap_or(request.path().len()));
                path.matches(plain.unwrap_or_default())
            }),
            Rule::FilterState(matcher) => matcher.matches(subject.filter_state),
            Rule::Metadata(noted) => noted.holds(subject.metadata),
        }
    }
}

/// Of a certificate's names the URIs count first, then the DNS names, then its subject. Source: `AuthenticatedMatcher`.
fn is_authenticated(tls: Option<&Session>, name: Option<&TextMatcher>) -> bool {
    let Some(session) = tls else { return false };
    let Some(name) = name else { return true };
    let Some(peer) = &session.peer else { return name.matches(b"") };
    let Some(info) = peer.info() else { return false };
    let like = |pick: fn(&SubjectAltName) -> bool| {
        let names = info.names.iter().filter(|name| pick(name));
        names.map(SubjectAltName::text).any(|text| name.matches(text.as_bytes()))
    };
    like(|name| matches!(name, SubjectAltName::Uri(_)))
        || like(|name| matches!(name, SubjectAltName::Dns(_)))
        || name.matches(info.subject.as_bytes())
}

// === impl Noted ===

impl Noted {
    fn holds(&self, metadata: Option<&serde_json::Value>) -> bool {
        let found = self.path.iter().try_fold(metadata, |at, key| Some(at?.get(key)));
        let holds = match (found.flatten(), &self.text) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(found), Some(text)) => {
                found.as_str().is_some_and(|found| text.matches(found.as_bytes()))
            }
        };
        holds != self.inverted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::TextTest;

    static RUNTIME: std::sync::LazyLock<Runtime> = std::sync::LazyLock::new(Runtime::default);

    fn subject<'a>(metadata: Option<&'a serde_json::Value>) -> Subject<'a> {
        Subject {
            source: "1.2.3.4:5".parse().unwrap(),
            direct: "10.0.0.1:6".parse().unwrap(),
            remote: "9.9.9.9".parse().ok(),
            named: true,
            destination: "10.0.0.2:443".parse().unwrap(),
            server_name: "a.test",
            tls: None,
            request: None,
            metadata,
            filter_state: None,
            runtime: &RUNTIME,
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn exact(text: &str) -> TextMatcher {
        TextMatcher::new(TextTest::Exact(text.as_bytes().into()), false)
    }

    #[test]
    fn who_meets_no_action_of_a_matcher_may_not() {
        use crate::matcher::tree::{Branches, Input, OnMatch};
        let named = |port: &str, name: &str, action| {
            let on = OnMatch::Action(Named { name: name.to_owned(), action });
            (port.as_bytes().into(), on)
        };
        let ports = [
            named("0", "told", Action::Allow),
            named("5", "not this one", Action::Deny),
            named("6", "seen", Action::Log),
        ];
        let branches = Branches::Exact(Input::SourcePort, ports.into_iter().collect());
        let engine = Engine::Matcher(Tree { branches, otherwise: None });
        let own = Subject { named: false, ..subject(None) };
        for (subject, allowed, policy) in [
            // Of whom a header names nobody knows the port.
            (subject(None), true, "told"),
            (own, false, "not_this_one"),
            (Subject { source: "1.2.3.4:6".parse().unwrap(), ..own }, true, "seen"),
            (Subject { source: "1.2.3.4:7".parse().unwrap(), ..own }, false, "none"),
        ] {
            let judged = engine.judge(&subject);
            let details = format!("rbac_access_denied_matched_policy[{policy}]");
            assert_eq!((judged.allowed, judged.details()), (allowed, details));
        }
    }

    #[test]
    fn each_rule_looks_at_its_own_address() {
        for (rule, expected) in [
            (Rule::Any, true),
            (Rule::SourceIp(net("1.2.3.0/24")), true),
            (Rule::SourceIp(net("10.0.0.0/8")), false),
            (Rule::DirectIp(net("10.0.0.0/8")), true),
            (Rule::RemoteIp(net("9.0.0.0/8")), true),
            (Rule::DestinationIp(net("10.0.0.2/32")), true),
            (Rule::DestinationPort(443), true),
            (Rule::DestinationPorts(400, 443), false),
            (Rule::DestinationPorts(443, 444), true),
            (Rule::ServerName(exact("a.test")), true),
            (Rule::Authenticated(None), false),
            (Rule::Not(Box::new(Rule::Any)), false),
            (Rule::All(vec![Rule::Any, Rule::DestinationPort(1)]), false),
            (Rule::Either(vec![Rule::Any, Rule::DestinationPort(1)]), true),
        ] {
            assert_eq!(rule.holds(&subject(None)), expected, "{rule:?}");
        }
    }

    #[test]
    fn what_was_noted_is_found_by_its_path() {
        let metadata = serde_json::json!({"ns": {"k": "v"}});
        let noted = |path: &[&str], text: Option<&str>, inverted| {
            let path = path.iter().map(|key| (*key).to_owned()).collect();
            Rule::Metadata(Noted { path, text: text.map(exact), inverted })
        };
        for (rule, expected) in [
            (noted(&["ns", "k"], Some("v"), false), true),
            (noted(&["ns", "k"], Some("w"), false), false),
            (noted(&["ns", "k"], None, false), true),
            (noted(&["ns", "x"], None, false), false),
            (noted(&["ns", "x"], None, true), true),
        ] {
            assert_eq!(rule.holds(&subject(Some(&metadata))), expected, "{rule:?}");
        }
        assert!(!noted(&["ns"], None, false).holds(&subject(None)));
    }

    #[test]
    fn the_first_policy_by_name_is_the_one_that_is_named() {
        let policy = |name: &str, principal| Policy {
            name: name.to_owned(),
            permissions: vec![Rule::Any],
            principals: vec![principal],
        };
        let nobody = Rule::Not(Box::new(Rule::Any));
        let policies = vec![policy("a", nobody.clone()), policy("b", Rule::Any)];
        for (action, policies, allowed, name) in [
            (Action::Allow, policies.clone(), true, Some("b")),
            (Action::Deny, policies.clone(), false, Some("b")),
            (Action::Log, policies, true, Some("b")),
            (Action::Allow, vec![policy("a", nobody.clone())], false, None),
            (Action::Deny, vec![policy("a", nobody)], true, None),
            (Action::Allow, Vec::new(), false, None),
        ] {
            let rules = Rules { action, policies };
            assert_eq!(rules.judge(&subject(None)), Judgement { allowed, policy: name });
        }
    }
}
