//! TLS as clients and hosts see it: what is shown, who is let in, what is agreed on, and what is counted.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyUsagePurpose};
use rustls::{CipherSuite, SignatureScheme, crypto::ring};
use support::{
    certificates::{Authority, Greeting, Identity},
    client::{self, Client},
    proxy::{Proxy, folder},
    tls::{connect, connect_with, get, origin},
    wait_for,
};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const DOWNSTREAM: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const UPSTREAM: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// A filter chain, as one line, whose answers say who they are.
fn chain(name: &str, of_chain: &str, context: &str) -> String {
    let says = format!(
        "response_headers_to_add: [{{header: {{key: x-tls, value: \"%DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_CIPHER%\"}}}}], \
         virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
         {{match: {{prefix: /up}}, route: {{cluster: up}}}}, \
         {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {name}}}}}}}]}}]"
    );
    let socket = match context.is_empty() {
        true => String::new(),
        false => format!(
            "transport_socket: {{name: tls, typed_config: {{\"@type\": {DOWNSTREAM}, {context}}}}}, "
        ),
    };
    format!(
        "    - {{{of_chain}{socket}filters: [{{name: hcm, typed_config: {{\"@type\": {HTTP}, \
         stat_prefix: {name}, route_config: {{name: {name}, {says}}}, http_filters: [{{name: router, \
         typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}\n"
    )
}

/// One listener with these chains and more lines of its own, and these clusters.
fn config(listener: &str, chains: &str, clusters: &str) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n{listener}    \
         filter_chains:\n{chains}  clusters:\n{clusters}"
    )
}

/// `common_tls_context` that shows these.
fn shows(folder: &Path, names: &[&str], more: &str) -> String {
    let certificates = names.iter().map(|name| {
        let file = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
        format!(
            "{{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}",
            file("pem"),
            file("key")
        )
    });
    let certificates = certificates.collect::<Vec<_>>().join(", ");
    format!("common_tls_context: {{tls_certificates: [{certificates}]{more}}}")
}

/// A cluster `up` of one host over TLS.
fn cluster(host: SocketAddr, context: &str) -> String {
    support::config::cluster("up", &[host])
        + &format!(
            "    transport_socket: {{name: tls, typed_config: {{\"@type\": {UPSTREAM}, {context}}}}}\n"
        )
}

/// A cluster `up` of a host that is not there.
fn nobody() -> String {
    support::config::cluster("up", &[SocketAddr::from(([127, 0, 0, 1], 9))])
}

/// An authority, and its certificates for `one.test`, `*.two.test` (ECDSA and RSA) in a folder.
fn stage() -> (Authority, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    authority.issue(&["one.test"]).write(&folder, "one");
    authority.issue(&["two.test", "*.two.test"]).write(&folder, "two");
    authority.issue_rsa(&["one.test"]).write(&folder, "rsa");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    (authority, folder)
}

fn trusted(folder: &Path, more: &str) -> String {
    let file = folder.join("ca.pem");
    format!(", validation_context: {{trusted_ca: {{filename: {}}}{more}}}", file.display())
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let (authority, folder) = stage();
    let chains = chain("both", "", &shows(&folder, &["one", "two"], ""));
    let looks = "    listener_filters: [{name: tls, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]\n";
    let proxy = Proxy::start(&config(looks, &chains, &nobody()));
    let at = proxy.listener("main");
    // The client looks whether the certificate is for the name.
    for name in ["one.test", "two.test", "deep.two.test"] {
        let mut client = connect(at, &Greeting::new(name, &authority)).expect(name);
        let answer = get(&mut client, "/").expect(name);
        assert!(
            answer.contains(&format!("x-tls: TLSv1.3 {name} TLS_AES_256_GCM_SHA384")),
            "{answer}"
        );
    }
    let other = connect(at, &Greeting::new("other.test", &authority));
    assert!(other.is_err(), "a client took a certificate for somebody else");
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), Some(3));
}

#[test]
fn an_rsa_certificate_is_for_clients_that_cannot_do_better() {
    let (authority, folder) = stage();
    let chains = chain("both", "", &shows(&folder, &["rsa", "one"], ""));
    let proxy = Proxy::start(&config("", &chains, &nobody()));
    let at = proxy.listener("main");
    let new = connect(at, &Greeting::new("one.test", &authority)).expect("a handshake");
    let mut old = ring::default_provider();
    old.cipher_suites
        .retain(|suite| suite.suite() == CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    old.signature_verification_algorithms.mapping = &RSA_ONLY;
    let rsa = Greeting { provider: Some(old), ..Greeting::new("one.test", &authority) };
    let rsa = connect(at, &rsa).expect("a handshake");
    let shown = |client: &support::certificates::TlsClient| {
        client.conn.peer_certificates().expect("a certificate")[0].len()
    };
    assert!(shown(&new) + 200 < shown(&rsa), "{} and {}", shown(&new), shown(&rsa));
    assert_eq!(proxy.stat("listener.main.ssl.versions.TLSv1.2"), Some(1));
    assert_eq!(proxy.stat("listener.main.ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256"), Some(1));
}

/// A client of ten years ago, as far as signatures go; the authority's own it takes, being asked by nobody.
static RSA_ONLY: [(SignatureScheme, &[&dyn rustls::pki_types::SignatureVerificationAlgorithm]); 2] = [
    (SignatureScheme::RSA_PSS_SHA256, &[webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
    (SignatureScheme::RSA_PKCS1_SHA256, &[webpki::ring::RSA_PKCS1_2048_8192_SHA256]),
];

#[test]
fn protocols_are_agreed_on_and_a_plain_client_is_told_nothing() {
    let (authority, folder) = stage();
    let alpn = shows(&folder, &["one"], ", alpn_protocols: [h2, http/1.1]");
    let proxy = Proxy::start(&config("", &chain("one", "", &alpn), &nobody()));
    let at = proxy.listener("main");
    for (offers, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let greeting = Greeting { alpn: offers, ..Greeting::new("one.test", &authority) };
        let client = connect(at, &greeting).expect("a handshake");
        assert_eq!(client.conn.alpn_protocol(), agreed);
    }
    let mut plain = Client::connect(at);
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(plain.is_closed());
    wait_for("the count", || {
        (proxy.stat("listener.main.ssl.connection_error") == Some(1)).then_some(())
    });
}

#[test]
fn a_listener_chooses_a_chain_by_name_and_by_transport_and_has_one_for_the_rest() {
    let (authority, folder) = stage();
    let named = |names: &str| format!("filter_chain_match: {{server_names: [{names}]}}, ");
    let chains = chain("one", &named("one.test"), &shows(&folder, &["one"], ""))
        + &chain("two", &named("\"*.two.test\""), &shows(&folder, &["two"], ""))
        + &chain("plain", "filter_chain_match: {transport_protocol: raw_buffer}, ", "");
    let without = Proxy::start(&config("", &chains, &nobody()));
    let default = chain("rest", "", &shows(&folder, &["one"], ""));
    let default = default.trim_start().trim_start_matches("- ");
    let default = format!("    default_filter_chain: {default}");
    let with = Proxy::start(&config(&default, &chains, &nobody()));
    for proxy in [&without, &with] {
        let at = proxy.listener("main");
        for (name, body) in [("one.test", "one"), ("a.two.test", "two")] {
            let mut client = connect(at, &Greeting::new(name, &authority)).expect(name);
            assert!(get(&mut client, "/").expect(name).ends_with(body));
        }
        assert_eq!(client::get(at, "/").text(), "plain");
    }
    // `two.test` itself is not below `*.two.test`.
    let greeting = Greeting::new("two.test", &authority);
    assert!(connect(without.listener("main"), &greeting).is_err());
    assert_eq!(without.stat("listener.main.no_filter_chain_match"), Some(1));
    assert_eq!(without.stat("tls_inspector.sni_found"), Some(3));
    assert_eq!(without.stat("tls_inspector.tls_not_found"), Some(1));
    // The default chain shows another's certificate, which the client minds.
    assert!(connect(with.listener("main"), &greeting).is_err());
    assert_eq!(with.stat("listener.main.no_filter_chain_match"), Some(0));
}

#[test]
fn a_connection_that_no_chain_takes_is_logged() {
    let (_, folder) = stage();
    let log = folder.join("listener.log");
    let of_listener = format!(
        "    access_log: [{{name: file, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}, log_format: \
         {{text_format_source: {{inline_string: \"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"}}}}}}}}]\n",
        log.display()
    );
    let named = "filter_chain_match: {server_names: [one.test]}, ";
    let chains = chain("one", named, &shows(&folder, &["one"], ""));
    let proxy = Proxy::start(&config(&of_listener, &chains, &nobody()));
    let mut plain = Client::connect(proxy.listener("main"));
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(plain.is_closed());
    let line = wait_for("a line", || fs::read_to_string(&log).ok().filter(|t| t.ends_with('\n')));
    assert_eq!(line, "NR filter_chain_not_found\n");
}

#[test]
fn clients_without_a_trusted_certificate_stay_outside() {
    let (authority, folder) = stage();
    let names =
        ", match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: \"spiffe://here/\"}}]";
    let context =
        shows(&folder, &["one"], &trusted(&folder, names)) + ", require_client_certificate: true";
    let proxy = Proxy::start(&config("", &chain("one", "", &context), &nobody()));
    let at = proxy.listener("main");
    let friend = authority.issue(&["friend.test", "spiffe://here/friend"]);
    let namesake = authority.issue(&["friend.test", "spiffe://there/friend"]);
    let stranger = Authority::new("others").issue(&["friend.test", "spiffe://here/friend"]);
    let asks = |shows| {
        let greeting = Greeting { shows, ..Greeting::new("one.test", &authority) };
        // In TLS 1.3 a client hears that it was refused when it reads.
        connect(at, &greeting).and_then(|mut client| get(&mut client, "/"))
    };
    assert!(asks(Some(&friend)).expect("an answer").ends_with("one"));
    assert!(asks(Some(&namesake)).is_err());
    assert!(asks(Some(&stranger)).is_err());
    assert!(asks(None).is_err());
    for (stat, count) in [
        ("handshake", 1),
        ("fail_verify_san", 1),
        ("fail_verify_error", 1),
        ("fail_verify_no_cert", 1),
        ("connection_error", 0),
        ("no_certificate", 0),
    ] {
        wait_for(stat, || {
            (proxy.stat(&format!("listener.main.ssl.{stat}")) == Some(count)).then_some(())
        });
    }
}

#[test]
fn a_client_is_told_whose_certificates_it_may_show() {
    #[derive(Debug, Default)]
    struct Asked(parking_lot::Mutex<Vec<usize>>);

    impl rustls::client::ResolvesClientCert for Asked {
        fn resolve(
            &self,
            authorities: &[&[u8]],
            _: &[SignatureScheme],
        ) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
            self.0.lock().push(authorities.len());
            None
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    let (authority, folder) = stage();
    let context = shows(&folder, &["one"], &trusted(&folder, ""));
    let proxy = Proxy::start(&config("", &chain("one", "", &context), &nobody()));
    let greeting = Greeting::new("one.test", &authority);
    let asked = std::sync::Arc::new(Asked::default());
    let mut config = rustls::ClientConfig::clone(&greeting.config());
    config.client_auth_cert_resolver = asked.clone();
    connect_with(proxy.listener("main"), config.into(), &greeting).expect("a handshake");
    assert_eq!(*asked.0.lock(), [1]);
}

#[test]
fn a_client_that_comes_again_goes_on_with_its_session() {
    let (authority, folder) = stage();
    let proxy =
        Proxy::start(&config("", &chain("one", "", &shows(&folder, &["one"], "")), &nobody()));
    let at = proxy.listener("main");
    let greeting = Greeting::new("one.test", &authority);
    let config = greeting.config();
    for _ in 0..3 {
        let mut client = connect_with(at, config.clone(), &greeting).expect("a handshake");
        get(&mut client, "/").expect("an answer");
    }
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), Some(3));
    assert_eq!(proxy.stat("listener.main.ssl.session_reused"), Some(2));
}

#[test]
fn a_host_over_tls_is_asked_for_by_its_name_and_shown_who_we_are() {
    let (authority, folder) = stage();
    authority.issue(&["proxy.test"]).write(&folder, "proxy");
    let host = origin(authority.issue(&["host.test"]).server(Some(&authority), &[]));
    let shown = shows(&folder, &["proxy"], &trusted(&folder, ""));
    let up = cluster(host, &format!("sni: host.test, {shown}"));
    let config = config("", &chain("plain", "", ""), &up);
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let at = proxy.listener("main");
    for _ in 0..5 {
        let answer = client::get(at, "/up/x");
        assert_eq!((answer.status, answer.text().as_str()), (200, "host.test /up/x 1"));
    }
    // The connection is kept, whatever tickets came on it.
    assert_eq!(proxy.stat("cluster.up.upstream_cx_total"), Some(1));
    assert_eq!(proxy.stat("cluster.up.ssl.handshake"), Some(1));
    assert_eq!(proxy.stat("cluster.up.ssl.sigalgs.ecdsa_secp256r1_sha256"), Some(1));
}

#[test]
fn a_client_that_shows_too_much_is_refused() {
    let (authority, folder) = stage();
    let context = shows(&folder, &["one"], &trusted(&folder, ""));
    let proxy = Proxy::start(&config("", &chain("one", "", &context), &nobody()));
    let at = proxy.listener("main");
    let friend = authority.issue(&["friend.test"]);
    let huge = Identity { chain: friend.chain.repeat(300), ..friend.clone() };
    let asks = |shows| {
        let greeting = Greeting { shows: Some(shows), ..Greeting::new("one.test", &authority) };
        connect(at, &greeting).and_then(|mut client| get(&mut client, "/"))
    };
    let before = proxy.resident_kib();
    for _ in 0..20 {
        assert!(asks(&huge).is_err());
    }
    assert!(asks(&friend).expect("an answer").ends_with("one"));
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), Some(20));
    assert!(proxy.resident_kib() < before + 4 * 1024, "{} KiB", proxy.resident_kib() - before);
}

#[test]
fn a_host_that_is_not_who_it_should_be_gets_no_request() {
    let (authority, folder) = stage();
    let host = origin(authority.issue(&["host.test"]).server(None, &[]));
    let stranger = origin(Authority::new("others").issue(&["host.test"]).server(None, &[]));
    let dns = |name: &str| {
        format!(", match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]")
    };
    let context = |names: &str| {
        let trusted = trusted(&folder, names);
        format!("sni: host.test, common_tls_context: {{{}}}", trusted.trim_start_matches(", "))
    };
    for (host, names, stat) in [
        (host, dns("other.test"), Some("fail_verify_san")),
        (stranger, dns("host.test"), Some("fail_verify_error")),
        (host, dns("host.test"), None),
    ] {
        let up = cluster(host, &context(&names));
        let proxy = Proxy::start(&config("", &chain("plain", "", ""), &up));
        let answer = client::get(proxy.listener("main"), "/up");
        let Some(stat) = stat else {
            assert_eq!(answer.status, 200);
            continue;
        };
        assert_eq!(answer.status, 503);
        assert!(answer.text().ends_with("reset reason: remote connection failure"));
        assert_eq!(proxy.stat(&format!("cluster.up.ssl.{stat}")), Some(1));
        assert_eq!(proxy.stat("cluster.up.upstream_cx_connect_fail"), Some(1));
        assert_eq!(proxy.stat("cluster.up.ssl.handshake"), Some(0));
    }
}

#[test]
fn handshakes_that_come_to_nothing_are_ended_and_cost_the_others_nothing() {
    let (authority, folder) = stage();
    let context = shows(&folder, &["one"], "");
    let proxy = Proxy::start(&config(
        "",
        &chain("one", "transport_socket_connect_timeout: 1s, ", &context),
        &nobody(),
    ));
    let at = proxy.listener("main");
    // Some say nothing, some half a hello, some garbage.
    let halves = (0..100).map(|number| {
        let mut socket = TcpStream::connect(at).expect("a connection");
        match number % 3 {
            0 => {}
            1 => socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").expect("sent"),
            _ => socket.write_all(b"\x16\x03\x01\x00\x05hello").expect("sent"),
        }
        socket
    });
    let halves = halves.collect::<Vec<_>>();
    let mut client = connect(at, &Greeting::new("one.test", &authority)).expect("a handshake");
    assert!(get(&mut client, "/").expect("an answer").ends_with("one"));
    for mut socket in halves {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut rest = Vec::new();
        // An alert may come first.
        let _ = socket.read_to_end(&mut rest);
    }
    let timeouts = "listener.main.downstream_cx_transport_socket_connect_timeout";
    wait_for("the timeouts", || (proxy.stat(timeouts) == Some(67)).then_some(()));
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), Some(33));
    assert_eq!(proxy.stat("listener.main.downstream_cx_active"), Some(0));
}

#[test]
fn garbage_after_the_handshake_ends_that_connection_alone() {
    let (authority, folder) = stage();
    let proxy =
        Proxy::start(&config("", &chain("one", "", &shows(&folder, &["one"], "")), &nobody()));
    let at = proxy.listener("main");
    let greeting = Greeting::new("one.test", &authority);
    let mut good = connect(at, &greeting).expect("a handshake");
    let mut bad = connect(at, &greeting).expect("a handshake");
    bad.sock.write_all(b"this was never encrypted").expect("sent");
    let mut rest = Vec::new();
    let _ = bad.sock.read_to_end(&mut rest);
    assert!(get(&mut good, "/").expect("an answer").ends_with("one"));
}

#[test]
fn a_thousand_handshakes_at_once_are_all_answered() {
    let (authority, folder) = stage();
    let proxy =
        Proxy::start(&config("", &chain("one", "", &shows(&folder, &["one"], "")), &nobody()));
    let at = proxy.listener("main");
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let greeting = Greeting::new("one.test", &authority);
                let config = greeting.config();
                for _ in 0..100 {
                    let mut client =
                        connect_with(at, config.clone(), &greeting).expect("a handshake");
                    assert!(get(&mut client, "/").expect("an answer").ends_with("one"));
                }
            });
        }
    });
    assert_eq!(proxy.stat("listener.main.ssl.handshake"), Some(1000));
    wait_for("the end of all", || {
        (proxy.stat("listener.main.downstream_cx_active") == Some(0)).then_some(())
    });
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_its_place() {
    let (authority, folder) = stage();
    fs::write(folder.join("broken.pem"), "no certificate").expect("a file");
    fs::copy(folder.join("one.key"), folder.join("broken.key")).expect("a file");
    authority.issue(&["x.test"]).write(&folder, "mixed");
    fs::copy(folder.join("two.key"), folder.join("mixed.key")).expect("a file");
    let names = ", validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}";
    let ciphers = ", tls_params: {cipher_suites: [ECDHE-RSA-AES128-SHA]}";
    let agrees = |params: &mut CertificateParams| {
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    };
    authority.issue_for(&["x.test"], agrees).write(&folder, "agrees");
    let names_of = |kind: &str| {
        let matcher = format!("{{{kind}matcher: {{exact: a}}}}");
        let names = trusted(&folder, &format!(", match_typed_subject_alt_names: [{matcher}]"));
        shows(&folder, &["one"], &names)
    };
    for (context, told) in [
        (shows(&folder, &["broken"], ""), "it holds no PEM certificate"),
        (shows(&folder, &["mixed"], ""), "does not match certificate"),
        (shows(&folder, &["missing"], ""), "No such file or directory"),
        (
            shows(
                &folder,
                &["one"],
                ", validation_context: {trusted_ca: {filename: /missing}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}",
            ),
            "cannot read \"/missing\"",
        ),
        (shows(&folder, &["one"], names), "without trusted CA is insecure"),
        (shows(&folder, &["one"], ciphers), "the cipher ECDHE-RSA-AES128-SHA is known to Envoy"),
        ("common_tls_context: {}".to_owned(), "No TLS certificates found for server context"),
        // Observed: Envoy 1.40 refuses each of these.
        (shows(&folder, &["agrees"], ""), "its `keyUsage` has no `digitalSignature`"),
        (
            shows(&folder, &["one"], &format!(", alpn_protocols: [{}]", "a".repeat(256))),
            "Invalid ALPN protocol string",
        ),
        (names_of(""), "`san_type` is required"),
        (names_of("san_type: OTHER_NAME, oid: x.y, "), "for OTHER_NAME with OID: x.y"),
    ] {
        let file = folder.join("proxy.yaml");
        fs::write(&file, config("", &chain("one", "", &context), &nobody())).expect("a file");
        let mut command = support::proxy::binary();
        let output =
            command.args(["--mode", "validate", "-c"]).arg(&file).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(text.contains(told) && text.contains("proxy.yaml:8:"), "{told}: {text}");
        // What only follows from it is not told: a certificate and its key at most.
        let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(errors <= if told.starts_with("No such") { 2 } else { 1 }, "{told}: {text}");
    }
}

#[test]
fn a_request_says_which_name_its_host_is_asked_for_and_must_have() {
    let (authority, folder) = stage();
    let host = origin(authority.issue(&["*.host.test"]).server(None, &[]));
    let trusted = trusted(&folder, "");
    let context = format!("common_tls_context: {{{}}}", trusted.trim_start_matches(", "));
    let options =
        "    upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}\n";
    let of_all = cluster(host, &context) + options;
    let (before, socket) = of_all.split_once("    transport_socket: ").expect("a transport");
    let (socket, after) = socket.split_once('\n').expect("a line");
    let of_some = format!(
        "{before}    transport_socket_matches: [{{name: any, match: {{}}, transport_socket: {socket}}}]\n{after}"
    );
    for up in [of_all, of_some] {
        each_request_has_its_name(&up);
    }
}

fn each_request_has_its_name(up: &str) {
    let proxy =
        Proxy::start_with(&config("", &chain("plain", "", ""), up), &["--concurrency", "1"]);
    let mut client = Client::connect(proxy.listener("main"));
    for (asked, status, body) in [
        ("A.host.test:99", 200, "a.host.test /up 0"),
        ("b.host.test", 200, "b.host.test /up 0"),
        ("a.host.test", 200, "a.host.test /up 0"),
        ("a.other.test", 503, ""),
    ] {
        let answer = client.request(format!("GET /up HTTP/1.1\r\nhost: {asked}\r\n\r\n"));
        assert_eq!(answer.status, status, "{asked}");
        assert!(answer.text().starts_with(body), "{asked}: {}", answer.text());
    }
    // Requests for one name share a connection.
    assert_eq!(proxy.stat("cluster.up.ssl.handshake"), Some(2));
    assert_eq!(proxy.stat("cluster.up.ssl.fail_verify_san"), Some(1));
}

#[test]
fn hosts_of_one_cluster_may_differ_in_their_transport() {
    let (authority, folder) = stage();
    let encrypted = origin(authority.issue(&["host.test"]).server(None, &[]));
    let plain = support::origin::Origin::saying("plain");
    let trusted = trusted(&folder, "");
    let endpoint = |at: SocketAddr, metadata: &str| {
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}{metadata}}}",
            at.ip(),
            at.port()
        )
    };
    let metadata = ", metadata: {filter_metadata: {envoy.transport_socket_match: {mode: secret}}}";
    let up = format!(
        "  - name: up\n    type: STATIC\n    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{}, {}]}}]}}\n    \
         transport_socket_matches:\n    - name: secret\n      match: {{mode: secret}}\n      transport_socket: \
         {{name: tls, typed_config: {{\"@type\": {UPSTREAM}, sni: host.test, common_tls_context: {{{}}}}}}}\n",
        endpoint(plain.address, ""),
        endpoint(encrypted, metadata),
        trusted.trim_start_matches(", ")
    );
    let proxy =
        Proxy::start_with(&config("", &chain("plain", "", ""), &up), &["--concurrency", "1"]);
    let at = proxy.listener("main");
    let mut answers = (0..4).map(|_| client::get(at, "/up").text()).collect::<Vec<_>>();
    answers.sort();
    assert_eq!(answers, ["host.test /up 0", "host.test /up 0", "plain", "plain"]);
}

#[test]
fn a_host_is_spoken_to_as_its_handshake_chooses() {
    let (authority, folder) = stage();
    let both = shows(&folder, &["one"], ", alpn_protocols: [h2, http/1.1]");
    let both = Proxy::start(&config("", &chain("one", "", &both), &nobody()));
    let old = origin(authority.issue(&["one.test"]).server(None, &["http/1.1"]));
    let trusted = trusted(&folder, "");
    let context =
        format!("sni: one.test, common_tls_context: {{{}}}", trusted.trim_start_matches(", "));
    let options = "    typed_extension_protocol_options:\n      \
                   envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n        \
                   \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n        \
                   auto_config: {}\n";
    let in_front_of = |host| {
        let config = config("", &chain("plain", "", ""), &(cluster(host, &context) + options));
        Proxy::start_with(&config, &["--concurrency", "1"])
    };
    let proxy = in_front_of(both.listener("main"));
    // Many at once, before anybody knows.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = client::get(proxy.listener("main"), "/up");
                // The host has no such cluster itself.
                assert_eq!(answer.status, 503);
                assert!(answer.header("x-tls").is_some());
            });
        }
    });
    assert_eq!(proxy.stat("cluster.up.upstream_cx_http2_total"), Some(1));
    assert_eq!(both.stat("http.one.downstream_cx_http2_total"), Some(1));
    assert_eq!(both.stat("http.one.downstream_rq_http2_total"), Some(8));

    let proxy = in_front_of(old);
    for _ in 0..3 {
        assert_eq!(client::get(proxy.listener("main"), "/up").text(), "one.test /up 0");
    }
    assert_eq!(proxy.stat("cluster.up.upstream_cx_http1_total"), Some(1));
    assert_eq!(proxy.stat("cluster.up.upstream_cx_http2_total"), Some(0));
}
