//! Who is greeted how: what a client is shown that can do little, why others are sent away, and what both sides are told of it.

mod support;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use support::{
    certificates::{Authority, Greeting, Identity},
    proxy::{Proxy, folder},
    tls::{connect, get},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// A listener that shows `names` and has these fields in its context and in what both sides have. Its log says why a handshake
/// came to nothing.
fn config(folder: &Path, names: &[&str], context: &str, common: &str) -> String {
    let at = folder.display();
    let shows = names.iter().map(|name| {
        format!(
            "{{certificate_chain: {{filename: {at}/{name}.pem}}, private_key: {{filename: {at}/{name}.key}}}}"
        )
    });
    let shows = shows.collect::<Vec<_>>().join(", ");
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         access_log: [{{name: f, typed_config: {{\"@type\": {TYPES}.access_loggers.file.v3.FileAccessLog, \
         path: {at}/log, log_format: {{text_format_source: {{inline_string: \"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\\n\"}}}}}}}}]\n    \
         filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, {context} \
         common_tls_context: {{{common} tls_certificates: [{shows}]}}}}}}\n      \
         filters: [{{name: hcm, typed_config: {{\
         \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: main, \
         route_config: {{name: r, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
         {{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n"
    )
}

/// An authority that is trusted, and `ecdsa` and `rsa` for `a.test`, `other` for `other.test`.
fn stage() -> (Authority, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    authority.issue(&["a.test"]).write(&folder, "ecdsa");
    authority.issue_rsa(&["a.test"]).write(&folder, "rsa");
    authority.issue(&["other.test"]).write(&folder, "other");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    (authority, folder)
}

fn start(config: &str) -> Proxy {
    Proxy::start_with(config, &["--concurrency", "2", "--file-flush-interval-msec", "50"])
}

fn trusted(folder: &Path, more: &str) -> String {
    let file = folder.join("ca.pem");
    format!("validation_context: {{trusted_ca: {{filename: {}}}{more}}},", file.display())
}

/// How often each reason was logged.
fn logged(folder: &Path, reason: &str) -> usize {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(reason)).count()
}

/// What a client hears that is not let in. It says nothing after its handshake: what it said might cost it the answer.
fn refusal(at: SocketAddr, greeting: &Greeting<'_>) -> String {
    let heard = connect(at, greeting).and_then(|mut client| client.read(&mut [0]));
    heard.expect_err("it is not let in").to_string()
}

fn vector(length: usize, content: &[u8]) -> Vec<u8> {
    [&content.len().to_be_bytes()[8 - length..], content].concat()
}

fn numbers(all: &[u16]) -> Vec<u8> {
    vector(2, &all.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>())
}

/// A client's hello of TLS 1.2 in one record (RFC 5246, 7.4.1.2).
fn hello(name: &str, suites: &[u16], groups: &[u16], schemes: &[u16]) -> Vec<u8> {
    let name = vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat());
    let extensions = [(0_u16, name), (10, numbers(groups)), (13, numbers(schemes))];
    let extensions = extensions
        .iter()
        .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &vector(2, content)].concat());
    let extensions = vector(2, &extensions.collect::<Vec<_>>());
    let body = [&[3, 3][..], &[7; 32], &[0], &numbers(suites), &[1, 0], &extensions].concat();
    let message = [&[1][..], &vector(3, &body)].concat();
    [&[22, 3, 1][..], &vector(2, &message)].concat()
}

/// The first two bytes of what the proxy's first record says: an alert's level and description, or a message's kind.
fn answer(at: SocketAddr, hello: &[u8]) -> [u8; 2] {
    let mut socket = TcpStream::connect(at).expect("it listens");
    socket.write_all(hello).expect("it reads");
    let mut record = [0; 7];
    socket.read_exact(&mut record).expect("it answers");
    [record[5], record[6]]
}

const ECDSA: u16 = 0xc02b;
const RSA: u16 = 0xc02f;
const FALLBACK: u16 = 0x5600;
const X25519: u16 = 29;
const P256: u16 = 23;

#[test]
fn a_client_of_which_nothing_is_shared_is_told_so_and_by_whom_it_was_sent_away() {
    let (_, folder) = stage();
    let proxy = start(&config(&folder, &["ecdsa", "rsa", "other"], "", ""));
    let at = proxy.listener("main");
    const GREETED: u8 = 22;
    let first = |name: &str, suites: &[u16], groups: &[u16], schemes: &[u16]| {
        let mut socket = TcpStream::connect(at).expect("it listens");
        socket.write_all(&hello(name, suites, groups, schemes)).expect("it reads");
        let mut kind = [0];
        socket.read_exact(&mut kind).expect("it answers");
        kind[0]
    };
    let (both, schemes) = ([X25519, P256], [0x0403, 0x0804]);
    for name in ["a.test", "none.test"] {
        assert_eq!(first(name, &[ECDSA, RSA], &both, &schemes), GREETED, "{name}");
    }
    // A curve that a client does not know is not shown to it; the other certificate is.
    assert_eq!(first("a.test", &[ECDSA, RSA], &[X25519], &schemes), GREETED);
    assert_eq!(first("a.test", &[RSA], &both, &schemes), GREETED);
    const FATAL: u8 = 2;
    let (failure, fallback) = ([FATAL, 40], [FATAL, 86]);
    for (name, suites, groups, expected) in [
        // What others are for is nothing for who asks for a name that none has, or only one that will not do.
        ("none.test", &[RSA][..], &both[..], failure),
        ("other.test", &[RSA], &both, failure),
        ("other.test", &[ECDSA], &[X25519], failure),
        ("a.test", &[0x002f], &both, failure),
        ("a.test", &[ECDSA, FALLBACK], &both, fallback),
    ] {
        let told = answer(at, &hello(name, suites, groups, &schemes));
        assert_eq!(told, expected, "{name} {suites:?} {groups:?}");
    }
    wait_for("the log", || (logged(&folder, "268435640:") == 4).then_some(()));
    assert_eq!(logged(&folder, "NO_SHARED_CIPHER"), 4);
    assert_eq!(logged(&folder, "268435613:"), logged(&folder, "INAPPROPRIATE_FALLBACK"));
    assert_eq!(proxy.stat("listener.main.ssl.connection_error"), Some(5));
    // Each was a connection of its own.
    wait_for("the connections", || {
        (proxy.stat("http.main.downstream_cx_destroy_remote") == Some(9)).then_some(())
    });
    assert_eq!(proxy.stat("http.main.downstream_cx_total"), Some(9));
    assert_eq!(proxy.stat("http.main.downstream_cx_ssl_total"), Some(9));
    assert_eq!(proxy.stat("http.main.downstream_cx_ssl_active"), Some(0));
}

#[test]
fn what_a_client_says_of_us_is_logged_in_the_words_that_people_search_for() {
    let (_, folder) = stage();
    let proxy = start(&config(&folder, &["ecdsa"], "", ""));
    let greeted = hello("a.test", &[ECDSA], &[P256], &[0x0403]);
    let words: &[(&[u8], &str)] = &[
        (
            &[21, 3, 3, 0, 2, 2, 46],
            "268436502:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        ),
        (
            &[21, 3, 3, 0, 2, 2, 48],
            "268436504:SSL_routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA",
        ),
        (
            &[22, 3, 3, 0, 4, 20, 0, 0, 0],
            "268435679:SSL_routines:OPENSSL_internal:UNEXPECTED_MESSAGE",
        ),
    ];
    for (says, expected) in words {
        let mut socket = TcpStream::connect(proxy.listener("main")).expect("it listens");
        socket.write_all(&greeted).expect("it reads");
        socket.read_exact(&mut [0; 5]).expect("it answers");
        socket.write_all(says).expect("it reads");
        wait_for(expected, || (logged(&folder, expected) == 1).then_some(()));
    }
}

#[test]
fn a_client_that_offers_other_protocols_is_served_without_one() {
    let (authority, folder) = stage();
    let common = "alpn_protocols: [h2, http/1.1],";
    let proxy = start(&config(&folder, &["ecdsa"], "", common));
    for (offers, agreed) in [
        (&["spdy/3"][..], None),
        (&["spdy/3", "http/1.1"], Some(&b"http/1.1"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&[], None),
    ] {
        let greeting = Greeting { alpn: offers, ..Greeting::new("a.test", &authority) };
        let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
        assert_eq!(client.conn.alpn_protocol(), agreed, "{offers:?}");
        if agreed != Some(b"h2") {
            assert!(get(&mut client, "/").expect("an answer").starts_with("HTTP/1.1 200"));
        }
    }
}

#[test]
fn a_client_hears_what_is_wrong_with_its_certificate() {
    let (authority, folder) = stage();
    let common = trusted(&folder, "");
    let required = "require_client_certificate: true,";
    let proxy = start(&config(&folder, &["ecdsa"], required, &common));
    let stranger = Authority::new("others").issue(&["client.test"]);
    let expired =
        authority.issue_for(&["client.test"], |of| of.not_after = date_time_ymd(2001, 1, 1));
    let future =
        authority.issue_for(&["client.test"], |of| of.not_before = date_time_ymd(2400, 1, 1));
    let host = authority.issue_for(&["client.test"], |of| {
        of.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let asks = |shows| {
        let greeting = Greeting { shows, ..Greeting::new("a.test", &authority) };
        refusal(proxy.listener("main"), &greeting)
    };
    for (shows, alert, reason) in [
        (Some(&expired), "CertificateExpired", "certificate_has_expired"),
        (Some(&future), "CertificateExpired", "certificate_is_not_yet_valid"),
        (Some(&stranger), "UnknownCA", "unable_to_get_local_issuer_certificate"),
        (Some(&host), "UnsupportedCertificate", "unsupported_certificate_purpose"),
        (None, "CertificateRequired", "peer_did_not_provide_required_client_certificate"),
    ] {
        assert!(asks(shows).contains(alert), "{alert}");
        wait_for(reason, || (logged(&folder, reason) == 1).then_some(()));
    }
}

#[test]
fn a_chain_is_as_long_as_it_may_be() {
    let (authority, folder) = stage();
    let below = authority.below("one");
    let chains = [&authority, &below, &below.below("two"), &below.below("two").below("three")]
        .map(|authority| authority.issue(&["client.test"]));
    // Observed: Envoy 1.40 takes one certificate between with 2, and none with 1 or 0.
    for (max, longest) in [(0, 0), (1, 0), (2, 1), (3, 2)] {
        let common = trusted(&folder, &format!(", max_verify_depth: {max}"));
        let required = "require_client_certificate: true,";
        let proxy = start(&config(&folder, &["ecdsa"], required, &common));
        for (between, shows) in chains.iter().enumerate() {
            let greeting = Greeting { shows: Some(shows), ..Greeting::new("a.test", &authority) };
            let asked = connect(proxy.listener("main"), &greeting);
            let enters = asked.and_then(|mut client| get(&mut client, "/")).is_ok();
            assert_eq!(enters, between <= longest, "{between} between, {max}");
        }
        let refused = chains.len() - 1 - longest;
        let reason = format!("at_depth_{}:_unable_to_get_local_issuer_certificate", longest + 1);
        wait_for(&reason, || (logged(&folder, &reason) >= refused).then_some(()));
        assert_eq!(proxy.stat("listener.main.ssl.fail_verify_error"), Some(refused as u64));
    }
}

#[test]
fn a_client_that_says_goodbye_hears_it() -> io::Result<()> {
    let (authority, folder) = stage();
    let proxy = start(&config(&folder, &["ecdsa"], "", ""));
    let mut client = connect(proxy.listener("main"), &Greeting::new("a.test", &authority))?;
    client.conn.send_close_notify();
    client.flush()?;
    // Without a goodbye this is an error.
    assert_eq!(client.read(&mut [0; 1])?, 0);
    Ok(())
}

#[test]
fn certificates_that_lead_nowhere_cost_little() {
    let (authority, folder) = stage();
    let common = trusted(&folder, "");
    let required = "require_client_certificate: true,";
    let proxy = start(&config(&folder, &["ecdsa"], required, &common));
    let [friend, stranger] =
        [&authority, &Authority::new("tests")].map(|one| one.issue(&["client.test"]));
    // All of one name, so that each may be the one that has signed.
    let namesakes = (0..60).map(|_| Authority::new("tests").pem()).collect::<String>();
    let asks = |shows: &Identity| {
        let shows = Identity { chain: shows.chain.clone() + &namesakes, key: shows.key.clone() };
        let greeting = Greeting { shows: Some(&shows), ..Greeting::new("a.test", &authority) };
        connect(proxy.listener("main"), &greeting).and_then(|mut client| get(&mut client, "/"))
    };
    assert!(asks(&friend).expect("an answer").starts_with("HTTP/1.1 200"));
    let before = proxy.resident_kib();
    for _ in 0..20 {
        assert!(asks(&stranger).is_err());
    }
    wait_for("the count", || {
        (proxy.stat("listener.main.ssl.fail_verify_error") == Some(20)).then_some(())
    });
    assert!(proxy.resident_kib() < before + 4 * 1024, "{} KiB", proxy.resident_kib() - before);
}

#[test]
fn both_sides_sign_by_what_is_allowed() {
    let (authority, folder) = stage();
    let allowed = |names: &str| format!("tls_params: {{signature_algorithms: [{names}]}},");
    let proxy = start(&config(&folder, &["ecdsa"], "", &allowed("RSA-PSS+SHA512")));
    let says = hello("a.test", &[ECDSA], &[P256], &[0x0403]);
    // What is shown is chosen without a thought of it.
    assert_eq!(answer(proxy.listener("main"), &says), [2, 40]);
    let proxy = start(&config(&folder, &["rsa"], "", &allowed("rsa_pss_rsae_sha512")));
    for (scheme, expected) in [(0x0806, [2, 0]), (0x0804, [2, 40])] {
        let told = answer(proxy.listener("main"), &hello("a.test", &[RSA], &[P256], &[scheme]));
        assert_eq!(told, expected, "{scheme:x}");
    }
    let common = trusted(&folder, "") + &allowed("ecdsa_secp256r1_sha256");
    let required = "require_client_certificate: true,";
    let proxy = start(&config(&folder, &["ecdsa"], required, &common));
    let at = proxy.listener("main");
    let [ecdsa, rsa] = [authority.issue(&["client.test"]), authority.issue_rsa(&["client.test"])];
    let shows = |shows| Greeting { shows: Some(shows), ..Greeting::new("a.test", &authority) };
    let mut client = connect(at, &shows(&ecdsa)).expect("a handshake");
    assert!(get(&mut client, "/").expect("an answer").contains(" 200 "));
    // It has nothing to show that it could sign for.
    let refused = refusal(at, &shows(&rsa));
    assert!(refused.contains("CertificateRequired"), "{refused}");
    assert_eq!(proxy.stat("listener.main.ssl.sigalgs.ecdsa_secp256r1_sha256"), Some(1));
}

/// The same listener with a TLS inspector of these fields, whose log says what it has found.
fn inspected(folder: &Path, fields: &str) -> String {
    let filter = format!(
        "    listener_filters: [{{name: i, typed_config: {{\"@type\": {TYPES}.filters.listener.tls_inspector.v3.TlsInspector, {fields}}}}}]\n    \
         filter_chains:"
    );
    let made = config(folder, &["ecdsa"], "", "");
    let told = "%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %REQUESTED_SERVER_NAME%";
    made.replace("    filter_chains:", &filter)
        .replace("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", told)
}

#[test]
fn clients_are_known_by_their_fingerprints() {
    let (_, folder) = stage();
    let both = "enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true";
    let ja4 = "t12d020300_777cda164f4b_4e0be11b965e";
    for (fields, expected) in [
        (both, format!("880a11ffd6e060dd54d8df923bdd7561 {ja4} a.test")),
        ("enable_ja4_fingerprinting: true", format!("- {ja4} a.test")),
        ("", "- - a.test".to_owned()),
    ] {
        let proxy = start(&inspected(&folder, fields));
        let says = hello("a.test", &[0x1301, ECDSA], &[X25519, P256], &[0x0403, 0x0804]);
        answer(proxy.listener("main"), &says);
        wait_for(&expected, || (logged(&folder, &expected) == 1).then_some(()));
    }
}

#[test]
fn what_is_no_hello_is_not_wanted_where_hellos_are() {
    let (_, folder) = stage();
    for (fields, wanted) in
        [("close_connection_on_client_hello_parsing_errors: true", false), ("", true)]
    {
        let proxy = start(&inspected(&folder, fields));
        for says in [&b"EHLO a.test\r\n"[..], &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0]] {
            let mut socket = TcpStream::connect(proxy.listener("main")).expect("it listens");
            socket.write_all(says).expect("it reads");
            // Whoever goes on is told that this is no TLS.
            let told = socket.read(&mut [0; 7]).unwrap_or_default();
            assert_eq!(told > 0, wanted, "{fields}");
        }
        assert_eq!(proxy.stat("tls_inspector.tls_not_found"), Some(2));
    }
}
