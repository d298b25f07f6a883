//! What a certificate may be used for, and who may come all the same; what a policy leaves of TLS.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, KeyUsagePurpose};
use rustls::crypto::ring;
use support::{
    certificates::{Authority, Greeting, Identity},
    proxy::{Proxy, folder},
    tls::{connect, get, origin},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// An authority, and its certificate for a proxy.
fn stage() -> (Authority, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    authority.issue(&["one.test"]).write(&folder, "one");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    (authority, folder)
}

/// What trusts the authority, and more.
fn trusts(folder: &Path, more: &str) -> String {
    format!("validation_context: {{trusted_ca: {{filename: {}/ca.pem}}{more}}}", folder.display())
}

/// Of no use for handshakes.
fn agrees(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
}

/// A listener that shows its certificate, and says what was agreed on; `/up` is a cluster `up`.
fn config(folder: &Path, common: &str, clusters: &str) -> String {
    let path = folder.display();
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{tls_certificates: \
         [{{certificate_chain: {{filename: {path}/one.pem}}, private_key: {{filename: {path}/one.key}}}}], {common}}}}}}}\n      \
         filters: [{{name: hcm, typed_config: {{\
         \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: main, \
         route_config: {{name: r, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
         {{match: {{prefix: /up}}, route: {{cluster: up}}, \
         response_headers_to_add: [{{header: {{key: x-up, value: \"%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_GROUP%\"}}}}]}}, {{match: {{prefix: /}}, direct_response: {{status: 200}}, \
         response_headers_to_add: [{{header: {{key: x-tls, value: \"%DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP%\"}}}}]}}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n{clusters}"
    )
}

/// A cluster `up` of this host, over TLS.
fn up(folder: &Path, host: SocketAddr, more: &str, common: &str) -> String {
    format!(
        "  clusters:\n{}    transport_socket: {{name: tls, typed_config: {{\"@type\": \
         {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext, sni: host.test{more}, common_tls_context: {{{}{common}}}}}}}\n",
        support::config::cluster("up", &[host]),
        trusts(folder, ""),
    )
}

/// A cluster `up` of a host that is not there.
fn nobody() -> String {
    let hosts = [SocketAddr::from(([127, 0, 0, 1], 9))];
    "  clusters:\n".to_owned() + &support::config::cluster("up", &hosts)
}

fn greeting<'a>(authority: &'a Authority, shows: Option<&'a Identity>) -> Greeting<'a> {
    Greeting { shows, ..Greeting::new("one.test", authority) }
}

/// Observed: Envoy 1.40, `connection_error` and `KEY_USAGE_BIT_INCORRECT`.
#[test]
fn who_signs_with_a_key_that_may_not_is_refused() {
    let (authority, folder) = stage();
    let (good, bad) = (authority.issue(&["a.test"]), authority.issue_for(&["a.test"], agrees));
    let host = origin(authority.issue_for(&["host.test"], agrees).server(None, &[]));
    // The field changes nothing, as in Envoy 1.40.
    for more in ["", ", enforce_rsa_key_usage: false"] {
        let clusters = up(&folder, host, more, "");
        let proxy = Proxy::start(&config(&folder, &trusts(&folder, ""), &clusters));
        let at = proxy.listener("main");
        for (shows, is_answered) in [(&good, true), (&bad, false)] {
            let client = connect(at, &greeting(&authority, Some(shows)));
            let answer = client.and_then(|mut client| get(&mut client, "/up"));
            assert_eq!(answer.is_ok(), is_answered);
            // The host's key is no better.
            assert!(answer.is_ok_and(|text| text.starts_with("HTTP/1.1 503")) || !is_answered);
        }
        for scope in ["listener.main", "cluster.up"] {
            let errors = format!("{scope}.ssl.connection_error");
            assert_eq!(proxy.stat(&errors), Some(1), "{errors}");
            assert_eq!(proxy.stat(&format!("{scope}.ssl.fail_verify_error")), Some(0));
        }
    }
}

#[test]
fn what_is_wrong_with_who_may_come_all_the_same_is_counted() {
    let (authority, folder) = stage();
    let (other, trust) = (Authority::new("others"), ", trust_chain_verification: ACCEPT_UNTRUSTED");
    let proxy = Proxy::start(&config(&folder, &trusts(&folder, trust), &nobody()));
    let stranger = other.issue(&["a.test"]);
    let mut client =
        connect(proxy.listener("main"), &greeting(&authority, Some(&stranger))).expect("let in");
    assert!(get(&mut client, "/").expect("an answer").starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), Some(1));
    assert_eq!(proxy.stat("listener.main.ssl.fail_verify_error"), Some(1));
}

#[test]
fn what_is_not_valid_now_may_come_where_time_does_not_matter() {
    let (authority, folder) = stage();
    let allows = trusts(&folder, ", allow_expired_certificate: true");
    let proxy = Proxy::start(&config(&folder, &allows, &nobody()));
    for (from, to) in [(2001, 2002), (4001, 4002)] {
        let odd = authority.issue_for(&["a.test"], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        let client = connect(proxy.listener("main"), &greeting(&authority, Some(&odd)));
        let answer = get(&mut client.expect("let in"), "/").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{from}: {answer}");
    }
}

#[test]
fn a_policy_leaves_what_it_approves_on_both_sides() {
    let (authority, folder) = stage();
    let mut chacha = ring::default_provider();
    chacha.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("CHACHA20"));
    let host = origin(authority.issue(&["host.test"]).server(None, &[]));
    let policy = "tls_params: {compliance_policies: [FIPS_202205], ecdh_curves: [X25519]}";
    let clusters = up(&folder, host, "", &format!(", {policy}"));
    let proxy = Proxy::start(&config(&folder, policy, &clusters));
    let at = proxy.listener("main");
    let mut client = connect(at, &greeting(&authority, None)).expect("a handshake");
    let answer = get(&mut client, "/").expect("an answer");
    assert!(answer.contains("x-tls: TLS_AES_256_GCM_SHA384 P-256\r\n"), "{answer}");
    let odd = Greeting { provider: Some(chacha), ..greeting(&authority, None) };
    assert!(connect(at, &odd).is_err(), "a cipher that is not approved");
    let mut client = connect(at, &greeting(&authority, None)).expect("a handshake");
    let answer = get(&mut client, "/up").expect("an answer");
    assert!(answer.contains("x-up: TLSv1.3 P-256\r\n"), "{answer}");
}

#[test]
fn a_client_that_is_turned_away_has_still_been_one_of_its_filter_chain() {
    let chain = |name: &str, last: &str| {
        format!(
            "  - name: {name}\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    filter_chains:\n    - filters: [\
             {{name: rl, typed_config: {{\"@type\": {TYPES}.filters.network.local_ratelimit.v3.LocalRateLimit, stat_prefix: rl, \
             token_bucket: {{max_tokens: 1, fill_interval: 600s}}}}}}, {{name: last, typed_config: {{\"@type\": {TYPES}.filters.network.{last}}}}}]\n"
        )
    };
    let http = "http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, route_config: {}, http_filters: \
                [{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]";
    let proxy = Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n{}{}{}",
        chain("tcp", "tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: up"),
        chain("http", http),
        nobody(),
    ));
    for name in ["http", "tcp"].iter().cycle().take(6) {
        TcpStream::connect(proxy.listener(name)).expect("a connection");
    }
    for counter in ["tcp.s.downstream_cx_total", "http.s.downstream_cx_total"] {
        wait_for(counter, || (proxy.stat(counter) == Some(3)).then_some(()));
    }
}
