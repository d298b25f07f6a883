//! Sessions that go on: only where who is trusted, and what is asked of a peer, is what it was when they began.

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use support::{
    certificates::{Authority, Greeting, Identity},
    client::post,
    proxy::{Proxy, folder},
    tls::{connect_with, get, origin},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";
const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3];

/// What becomes of a client: how its handshake came about, or that it was sent away.
type Outcome = Option<HandshakeKind>;

const IN_FULL: Outcome = Some(HandshakeKind::Full);
const RESUMED: Outcome = Some(HandshakeKind::Resumed);
const SENT_AWAY: Outcome = None;

struct Stage {
    authority: Authority,
    folder: PathBuf,
}

// === impl Stage ===

impl Stage {
    /// An authority, what it signed for a listener, and a key for tickets.
    fn new() -> Self {
        let (authority, folder) = (Authority::new("tests"), folder());
        authority.issue(&["a.test"]).write(&folder, "own");
        fs::write(folder.join("tickets"), [7; 80]).expect("a file");
        Self { authority, folder }
    }

    fn shared_keys(&self) -> String {
        let at = self.folder.join("tickets");
        format!("session_ticket_keys: {{keys: [{{filename: {}}}]}},", at.display())
    }

    fn trusts(&self, authority: &Authority, more: &str) -> String {
        format!("{{trusted_ca: {}{more}}}", inline(&authority.pem()))
    }

    /// Publishes who is trusted to the proxies that read it from this folder.
    fn publish(&self, version: u64, trust: &str) {
        let secret = format!(
            "version_info: \"{version}\"\nresources:\n- {{\"@type\": {TYPES}.transport_sockets.tls.v3.Secret, name: trust, \
             validation_context: {trust}}}\n"
        );
        put(&self.folder, "sds.yaml", &secret);
    }

    fn published(&self) -> String {
        let at = self.folder.join("sds.yaml");
        format!(
            "validation_context_sds_secret_config: {{name: trust, sds_config: {{path_config_source: {{path: {}}}}}}},",
            at.display()
        )
    }

    /// A listener with these fields in its context and in what both sides' contexts have.
    fn listener(&self, name: &str, context: &str, common: &str) -> String {
        let at = self.folder.display();
        format!(
            "  - name: {name}\n    stat_prefix: {name}\n    \
             address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
             filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
             \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, {context} common_tls_context: {{{common} \
             tls_certificates: [{{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}}}]}}}}}}\n      \
             filters: [{{name: hcm, typed_config: {{\
             \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: {name}, \
             route_config: {{name: {name}, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
             {{match: {{prefix: /}}, direct_response: {{status: 200}}, response_headers_to_add: [\
             {{header: {{key: x-peer, value: \"%DOWNSTREAM_PEER_DNS_SAN%|%DOWNSTREAM_PEER_CERT_V_END%\"}}}}]}}]}}]}}, \
             http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n"
        )
    }

    fn client<'a>(&'a self, shows: Option<&'a Identity>, version: ProtocolVersion) -> Client<'a> {
        let greeting = Greeting { shows, ..Greeting::new("a.test", &self.authority) };
        let greeting = greeting.speaking(version);
        Client { sessions: greeting.config(), greeting }
    }
}

/// Remembers its sessions.
struct Client<'a> {
    greeting: Greeting<'a>,
    sessions: Arc<ClientConfig>,
}

// === impl Client ===

impl Client<'_> {
    /// Asks for something. In TLS 1.3 it hears with the answer that it is not let in, and gets its tickets.
    fn comes(&self, to: SocketAddr) -> Outcome {
        self.asks(to).map(|(kind, _)| kind)
    }

    /// The same, and the answer.
    fn asks(&self, to: SocketAddr) -> Option<(HandshakeKind, String)> {
        let mut client = connect_with(to, self.sessions.clone(), &self.greeting).ok()?;
        let answer = get(&mut client, "/").ok()?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some((client.conn.handshake_kind()?, answer))
    }
}

fn put(folder: &Path, name: &str, text: &str) {
    let (next, path) = (folder.join("next"), folder.join(name));
    fs::write(&next, text).expect("a file can be written");
    fs::rename(next, path).expect("and moved");
}

fn inline(text: &str) -> String {
    format!("{{inline_string: {}}}", serde_json::json!(text))
}

fn config(more: &str, listeners: &[String]) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n{more}  listeners:\n{}",
        listeners.concat()
    )
}

fn published(proxy: &Proxy, count: u64) {
    let stat = "sds.trust.update_success";
    wait_for(stat, || (proxy.stat(stat)? == count).then_some(()));
}

#[test]
fn who_is_no_longer_trusted_is_not_let_in_by_a_session_of_before() {
    let stage = Stage::new();
    let shown = stage.authority.issue(&["client.test"]);
    let whole = stage.trusts(&stage.authority, "");
    let (others, taken_back) = (Authority::new("others"), stage.authority.revokes(&[&shown]));
    let named = ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: other.test}}]";
    let hash = format!(", verify_certificate_hash: [\"{}\"]", "00".repeat(32));
    let spki = format!(", verify_certificate_spki: [\"{}=\"]", "A".repeat(43));
    let next = [
        stage.trusts(&others, ""),
        stage.trusts(&stage.authority, &format!(", crl: {}", inline(&taken_back))),
        stage.trusts(&stage.authority, named),
        stage.trusts(&stage.authority, &hash),
        stage.trusts(&stage.authority, &spki),
    ];
    let keys = stage.shared_keys();
    let only_sessions = "disable_stateless_session_resumption: true,";
    for (version, how) in [
        (ProtocolVersion::TLSv1_2, ""),
        (ProtocolVersion::TLSv1_2, keys.as_str()),
        (ProtocolVersion::TLSv1_2, only_sessions),
        (ProtocolVersion::TLSv1_3, ""),
        (ProtocolVersion::TLSv1_3, keys.as_str()),
    ] {
        stage.publish(1, &whole);
        let context = format!("{how} require_client_certificate: true,");
        let proxy =
            Proxy::start(&config("", &[stage.listener("main", &context, &stage.published())]));
        let (at, mut updates) = (proxy.listener("main"), 1);
        for next in &next {
            let client = stage.client(Some(&shown), version);
            assert_eq!(client.comes(at), IN_FULL);
            assert_eq!(client.comes(at), RESUMED, "{version:?} {how}");
            stage.publish(updates + 1, next);
            published(&proxy, updates + 1);
            assert_eq!(client.comes(at), SENT_AWAY, "{version:?} {how} {next}");
            stage.publish(updates + 2, &whole);
            updates += 2;
            published(&proxy, updates);
            assert_ne!(client.comes(at), SENT_AWAY, "{version:?} {how}");
        }
    }
}

#[test]
fn a_session_goes_on_while_the_same_is_trusted_whoever_says_it() {
    let stage = Stage::new();
    let shown = stage.authority.issue(&["client.test"]);
    let whole = stage.trusts(&stage.authority, "");
    let context = format!("{} require_client_certificate: true,", stage.shared_keys());
    let one = stage.listener("one", &context, &stage.published());
    let two = stage.listener("two", &context, &format!("validation_context: {whole},"));
    for version in VERSIONS {
        stage.publish(1, &whole);
        let first = Proxy::start(&config("", &[one.clone(), two.clone()]));
        let second = Proxy::start(&config("", std::slice::from_ref(&two)));
        let client = stage.client(Some(&shown), version);
        assert_eq!(client.comes(first.listener("one")), IN_FULL);
        assert_eq!(client.comes(first.listener("two")), RESUMED, "another listener, {version:?}");
        assert_eq!(client.comes(second.listener("two")), RESUMED, "another process, {version:?}");
        let answer = post(first.admin, "/reload").text();
        assert!(answer.contains("no connection is touched"), "{answer}");
        assert_eq!(client.comes(first.listener("one")), RESUMED, "a reload, {version:?}");
        stage.publish(2, &whole);
        published(&first, 2);
        for _ in 0..4 {
            assert_eq!(client.comes(first.listener("one")), RESUMED, "said again, {version:?}");
        }
    }
}

#[test]
fn a_ticket_of_a_listener_that_asks_for_less_opens_none_that_asks_for_more() {
    let stage = Stage::new();
    let keys = stage.shared_keys();
    let whole = format!("validation_context: {},", stage.trusts(&stage.authority, ""));
    let must = format!("{keys} require_client_certificate: true,");
    let proxy = Proxy::start(&config(
        "",
        &[
            stage.listener("open", &keys, ""),
            stage.listener("may", &keys, &whole),
            stage.listener("must", &must, &whole),
        ],
    ));
    for version in VERSIONS {
        for less in ["open", "may"] {
            let client = stage.client(None, version);
            assert_eq!(client.comes(proxy.listener(less)), IN_FULL);
            assert_eq!(client.comes(proxy.listener(less)), RESUMED, "{less} {version:?}");
            assert_eq!(client.comes(proxy.listener("must")), SENT_AWAY, "{less} {version:?}");
        }
    }
}

#[test]
fn a_ticket_of_before_a_reload_opens_nothing_that_the_reload_asks_for() {
    let stage = Stage::new();
    let keys = stage.shared_keys();
    let shown = stage.authority.issue(&["client.test"]);
    let secret = |more: &str| {
        let trusts = stage.trusts(&stage.authority, more);
        format!("  secrets: [{{name: trust, validation_context: {trusts}}}]\n")
    };
    let named = ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: other.test}}]";
    let by_name = "validation_context_sds_secret_config: {name: trust},";
    let must = format!("{keys} require_client_certificate: true,");
    for version in VERSIONS {
        for (shows, before, after) in [
            // A certificate is asked for.
            (None, (keys.as_str(), "", ""), (must.as_str(), by_name, "")),
            // The listener says what it said; the secret asks for another name.
            (Some(&shown), (must.as_str(), by_name, ""), (must.as_str(), by_name, named)),
        ] {
            let say = |(context, common, more): (&str, &str, &str)| {
                config(&secret(more), &[stage.listener("main", context, common)])
            };
            let proxy = Proxy::start(&say(before));
            let client = stage.client(shows, version);
            assert_eq!(client.comes(proxy.listener("main")), IN_FULL);
            assert_eq!(client.comes(proxy.listener("main")), RESUMED, "{version:?}");
            put(&proxy.folder, "config.yaml", &say(after));
            let answer = post(proxy.admin, "/reload").text();
            assert!(answer.contains("listener main changes"), "{answer}");
            assert_eq!(client.comes(proxy.listener("main")), SENT_AWAY, "{version:?}");
        }
    }
}

#[test]
fn a_host_whose_authority_is_no_longer_trusted_is_not_reached_by_a_session_of_before() {
    let stage = Stage::new();
    let others = Authority::new("others");
    let host = origin(stage.authority.issue(&["a.test"]).server(None, &[]));
    let whole = stage.trusts(&stage.authority, "");
    for version in ["TLSv1_2", "TLSv1_3"] {
        stage.publish(1, &whole);
        let cluster = format!(
            "  clusters:\n{}    transport_socket: {{name: tls, typed_config: {{\
             \"@type\": {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext, sni: a.test, common_tls_context: {{\
             tls_params: {{tls_minimum_protocol_version: {version}, tls_maximum_protocol_version: {version}}}, {}}}}}}}\n",
            support::config::cluster("up", &[host]),
            stage.published()
        );
        let reuse_none = "    max_requests_per_connection: 1\n";
        let listener = stage
            .listener("main", "", "")
            .replace("routes: [", "routes: [{match: {prefix: /up}, route: {cluster: up}}, ");
        let proxy = Proxy::start(&config(&format!("{cluster}{reuse_none}"), &[listener]));
        let reused = || proxy.stat("cluster.up.ssl.session_reused").unwrap_or_default();
        let client = stage.client(None, ProtocolVersion::TLSv1_3);
        let up = || {
            let to = proxy.listener("main");
            let connected = connect_with(to, client.sessions.clone(), &client.greeting);
            get(&mut connected.expect("a handshake"), "/up").expect("an answer")
        };
        assert!(up().starts_with("HTTP/1.1 200"));
        assert!(up().starts_with("HTTP/1.1 200"));
        assert_eq!(reused(), 1, "{version}");
        stage.publish(2, &stage.trusts(&others, ""));
        published(&proxy, 2);
        let answer = up();
        assert!(answer.starts_with("HTTP/1.1 503"), "{version} {answer}");
        stage.publish(3, &whole);
        published(&proxy, 3);
        assert!(up().starts_with("HTTP/1.1 200"), "{version}");
        assert_eq!(reused(), 1, "{version}");
        assert!(up().starts_with("HTTP/1.1 200"), "{version}");
        assert_eq!(reused(), 2, "{version}");
    }
}

#[test]
fn whose_certificate_has_ended_is_not_told_as_validated_in_a_session_of_before() {
    let stage = Stage::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let shown = stage.authority.issue_for(&["client.test"], |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(6);
    });
    let whole = stage.trusts(&stage.authority, "");
    let untrusted = stage.trusts(&stage.authority, ", trust_chain_verification: ACCEPT_UNTRUSTED");
    let listener = |name: &str, trust: &str| {
        let common = format!("validation_context: {trust},");
        let listener = stage.listener(name, "", &common);
        listener.replace(
            "routes: [",
            "routes: [{match: {prefix: /, tls_context: {validated: true}}, \
             direct_response: {status: 200, body: {inline_string: validated}}}, ",
        )
    };
    let proxy =
        Proxy::start(&config("", &[listener("trusts", &whole), listener("accepts", &untrusted)]));
    let mut clients = Vec::new();
    for version in VERSIONS {
        for name in ["trusts", "accepts"] {
            let (client, at) = (stage.client(Some(&shown), version), proxy.listener(name));
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let (kind, answer) = client.asks(at).expect("an answer");
                assert_eq!(kind, expected, "{name} {version:?}");
                assert!(answer.ends_with("validated"), "{name} {version:?} {answer}");
            }
            clients.push((client, at));
        }
    }
    for (client, at) in clients {
        wait_for("its end", || {
            let (kind, answer) = client.asks(at).expect("an answer");
            assert_eq!(kind, HandshakeKind::Resumed);
            (!answer.ends_with("validated")).then_some(())
        });
    }
}

#[test]
fn new_tickets_do_not_prolong_for_how_long_a_certificate_is_taken_on_trust() {
    let stage = Stage::new();
    let shown = stage.authority.issue(&["client.test"]);
    let whole = format!("validation_context: {},", stage.trusts(&stage.authority, ""));
    for keys in [String::new(), stage.shared_keys()] {
        let context = format!("{keys} session_timeout: 3s,");
        let proxy = Proxy::start(&config("", &[stage.listener("main", &context, &whole)]));
        for version in VERSIONS {
            let (client, at) = (stage.client(Some(&shown), version), proxy.listener("main"));
            assert_eq!(client.comes(at), IN_FULL);
            assert_eq!(client.comes(at), RESUMED, "{version:?}");
            // It comes all the time, and has never a ticket that is older than its last answer.
            wait_for("a handshake in full", || (client.comes(at) == IN_FULL).then_some(()));
        }
    }
}
