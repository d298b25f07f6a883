//! What goes with a handshake: tickets that other proxies open, answers of authorities, and secrets in a file.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use support::{
    certificates::{Authority, Greeting, Identity},
    proxy::{Proxy, folder},
    tls::{connect, connect_with, get, origin},
    wait_for,
};
use x509_parser::prelude::{FromDer, X509Certificate};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// A listener that shows `own` and has these fields in its context and in what both sides have.
fn config(folder: &Path, certificate: &str, context: &str, common: &str, secrets: &str) -> String {
    let at = folder.display();
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n{secrets}  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, {context} common_tls_context: {{{common} \
         tls_certificates: [{{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}{certificate}}}]}}}}}}\n      \
         filters: [{{name: hcm, typed_config: {{\
         \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: main, \
         route_config: {{name: r, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
         {{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n"
    )
}

fn stage() -> (Authority, Identity, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    let own = authority.issue(&["a.test"]);
    own.write(&folder, "own");
    for byte in 1..4 {
        fs::write(folder.join(format!("key{byte}")), vec![byte; 80]).expect("a file");
    }
    (authority, own, folder)
}

#[test]
fn a_session_goes_on_at_whoever_has_the_key_of_its_ticket() {
    let (authority, _, folder) = stage();
    let keys = |names: &[&str]| {
        let files =
            names.iter().map(|name| format!("{{filename: {}}}", folder.join(name).display()));
        format!("session_ticket_keys: {{keys: [{}]}}", files.collect::<Vec<_>>().join(", "))
    };
    let start =
        |context: &str, secrets: &str| Proxy::start(&config(&folder, "", context, "", secrets));
    let sealing = start(&format!("{},", keys(&["key1", "key2"])), "");
    let secret = format!("  secrets: [{{name: keys, {}}}]\n", keys(&["key3", "key1"]));
    let opening = start("session_ticket_keys_sds_secret_config: {name: keys},", &secret);
    let stranger = start(&format!("{},", keys(&["key2"])), "");
    let greeting = Greeting::new("a.test", &authority);
    let kind = |proxy: &Proxy, client: &Arc<ClientConfig>| {
        let at = proxy.listener("main");
        let mut client = connect_with(at, client.clone(), &greeting).expect("a handshake");
        // A ticket may come with the answer.
        get(&mut client, "/").expect("an answer");
        client.conn.handshake_kind()
    };
    for (proxy, expected) in [
        (&sealing, HandshakeKind::Resumed),
        (&opening, HandshakeKind::Resumed),
        (&stranger, HandshakeKind::Full),
    ] {
        let client = greeting.config();
        assert_eq!(kind(&sealing, &client), Some(HandshakeKind::Full));
        assert_eq!(kind(proxy, &client), Some(expected));
    }
    assert_eq!(opening.stat("listener.main.ssl.session_reused"), Some(1));
}

/// One element of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a short one");
    [&[tag, 0x82], &length.to_be_bytes()[..], &content].concat()
}

/// What an authority says of a certificate until this time; signed by nobody, which is for clients to find out.
fn answer(of: &Identity, until: &str) -> Vec<u8> {
    let own = CertificateDer::from_pem_slice(of.chain.as_bytes()).expect("a certificate");
    let (_, read) = X509Certificate::from_der(&own).expect("a certificate");
    let id = der(
        0x30,
        &[&der(0x30, &[]), &der(4, &[b"name"]), &der(4, &[b"key"]), &der(2, &[read.raw_serial()])],
    );
    let until = der(0xa0, &[&der(0x18, &[until.as_bytes()])]);
    let single = der(0x30, &[&id, &[0x80, 0], &der(0x18, &[b"20200101000000Z"]), &until]);
    let data =
        der(0x30, &[&der(0xa2, &[]), &der(0x18, &[b"20200101000000Z"]), &der(0x30, &[&single])]);
    let basic = der(0x30, &[&data]);
    let bytes = der(0x30, &[&der(6, &[&[0x2b]]), &der(4, &[&basic])]);
    der(0x30, &[&[0x0a, 1, 0], &der(0xa0, &[&bytes])])
}

/// Takes every certificate, and remembers what went with it.
#[derive(Debug, Default)]
struct Remembers(Mutex<Vec<u8>>);

impl ServerCertVerifier for Remembers {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        answer: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock() = answer.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[test]
fn what_an_authority_says_goes_with_the_certificate_while_it_holds() {
    let (authority, own, folder) = stage();
    let (good, expired) = (answer(&own, "40000101000000Z"), answer(&own, "20200102000000Z"));
    for (policy, said, told) in [
        ("LENIENT_STAPLING", &good, Some(&good[..])),
        ("LENIENT_STAPLING", &expired, Some(&[][..])),
        ("STRICT_STAPLING", &good, Some(&good[..])),
        ("STRICT_STAPLING", &expired, None),
        ("MUST_STAPLE", &good, Some(&good[..])),
        ("MUST_STAPLE", &expired, None),
    ] {
        fs::write(folder.join("answer"), said).expect("a file");
        let staple = format!(", ocsp_staple: {{filename: {}}}", folder.join("answer").display());
        let context = format!("ocsp_staple_policy: {policy},");
        let proxy = Proxy::start(&config(&folder, &staple, &context, "", ""));
        let remembers = Arc::new(Remembers::default());
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(remembers.clone())
            .with_no_client_auth();
        let greeting = Greeting::new("a.test", &authority);
        let connected = connect_with(proxy.listener("main"), Arc::new(client), &greeting);
        assert_eq!(connected.is_ok(), told.is_some(), "{policy}");
        let remembered = remembers.0.lock().clone();
        assert_eq!(remembered, told.unwrap_or_default(), "{policy}");
        let counted = match told {
            None => "failed",
            Some([]) => "omitted",
            Some(_) => "responses",
        };
        let counted = format!("listener.main.ssl.ocsp_staple_{counted}");
        wait_for(&counted, || proxy.stat(&counted).filter(|count| *count == 1));
        assert_eq!(proxy.stat("listener.main.ssl.ocsp_staple_requests"), Some(1));
    }
}

#[test]
fn secrets_of_handshakes_are_written_to_a_file_for_those_who_debug() {
    let (authority, _, folder) = stage();
    let path = folder.join("secrets");
    let common = format!("key_log: {{path: {}}},", path.display());
    let proxy = Proxy::start(&config(&folder, "", "", &common, ""));
    assert!(!path.exists(), "a file was made before there was anything to write");
    let greeting = Greeting::new("a.test", &authority);
    get(&mut connect(proxy.listener("main"), &greeting).expect("a handshake"), "/")
        .expect("an answer");
    let written = fs::read_to_string(&path).expect("a file");
    assert!(written.lines().any(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")), "{written}");
}

#[test]
fn secrets_are_written_of_connections_between_addresses_that_are_asked_for() {
    let (authority, _, folder) = stage();
    let (path, host) =
        (folder.join("secrets"), origin(authority.issue(&["a.test"]).server(None, &[])));
    let range = |side: &str, address: &str| {
        format!("{side}_address_range: [{{address_prefix: {address}, prefix_len: 32}}]")
    };
    let here = |side| range(side, "127.0.0.1");
    let elsewhere = |side| range(side, "10.0.0.1");
    let cluster = |ranges: &str| {
        format!(
            "  clusters:\n{}    transport_socket: {{name: tls, typed_config: {{\
             \"@type\": {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext, \
             common_tls_context: {{key_log: {{path: {}, {ranges}}}}}}}}}\n",
            support::config::cluster("up", &[host]),
            path.display()
        )
    };
    // Observed: Envoy 1.40 writes where both ends are within.
    for (ranges, written) in [
        (here("local"), true),
        (here("remote"), true),
        (format!("{}, {}", here("local"), here("remote")), true),
        (elsewhere("local"), false),
        (format!("{}, {}", here("local"), elsewhere("remote")), false),
        (format!("{}, {}", elsewhere("local"), here("remote")), false),
    ] {
        let common = format!("key_log: {{path: {}, {ranges}}},", path.display());
        let up = "routes: [{match: {prefix: /up}, route: {cluster: up}}, ";
        for (to, config) in [
            ("/", config(&folder, "", "", &common, "")),
            ("/up", config(&folder, "", "", "", "").replace("routes: [", up) + &cluster(&ranges)),
        ] {
            let proxy = Proxy::start(&config);
            let greeting = Greeting::new("a.test", &authority);
            let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
            assert!(get(&mut client, to).expect("an answer").contains(" 200 "));
            assert_eq!(path.exists(), written, "{to} {ranges}");
            let _ = fs::remove_file(&path);
        }
    }
}
