//! What is told of a connection's TLS: in formats, in `x-forwarded-client-cert`, to routes, and of handshakes that came to nothing.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
};

use support::{
    certificates::{Authority, Greeting, Identity},
    proxy::{Proxy, folder},
    tls::{connect, get, origin},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// An authority, its certificate for a proxy and for a client.
fn stage() -> (Authority, Identity, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    authority.issue(&["one.test", "spiffe://tests/proxy"]).write(&folder, "one");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    let client = authority.issue(&["client.test", "spiffe://tests/client", "spiffe://tests/b"]);
    client.write(&folder, "client");
    (authority, client, folder)
}

fn identity(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: {folder}/{name}.pem}}, private_key: {{filename: {folder}/{name}.key}}}}]"
    )
}

/// A listener whose connection manager has these options and routes; more is for the validation context.
fn config(folder: &Path, options: &str, routes: &str, more: &str, rest: &str) -> String {
    let (own, path) = (identity(folder, "one"), folder.display());
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         access_log: [{{name: f, typed_config: {{\"@type\": {TYPES}.access_loggers.file.v3.FileAccessLog, \
         path: {path}/listener.log, log_format: {{text_format_source: {{inline_string: \"%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_LOCAL_DNS_SAN%\\n\"}}}}}}}}]\n    \
         filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{{own}, \
         validation_context: {{trusted_ca: {{filename: {path}/ca.pem}}{more}}}}}}}}}\n      filters: [{{name: hcm, typed_config: {{\
         \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: main, {options} \
         route_config: {{name: r, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{routes}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n{rest}"
    )
}

/// A route that answers with a format.
fn says(matcher: &str, format: &str) -> String {
    format!(
        "{{match: {{{matcher}}}, direct_response: {{status: 200}}, \
         response_headers_to_add: [{{header: {{key: x-told, value: \"{format}\"}}}}]}}"
    )
}

fn told(answer: &str) -> &str {
    let line = answer.lines().find_map(|line| line.strip_prefix("x-told: "));
    line.unwrap_or_else(|| panic!("nothing was told: {answer}"))
}

#[test]
fn both_certificates_of_a_connection_are_told_of() {
    let (authority, client, folder) = stage();
    let format = "%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%|%DOWNSTREAM_PEER_URI_SAN%|\
        %DOWNSTREAM_PEER_DNS_SAN%|%DOWNSTREAM_PEER_IP_SAN%|%DOWNSTREAM_LOCAL_SUBJECT%|\
        %DOWNSTREAM_LOCAL_URI_SAN%|%DOWNSTREAM_PEER_CERT_V_START(%Y)%|%DOWNSTREAM_PEER_ISSUER_SERIAL%";
    let proxy = Proxy::start(&config(&folder, "", &says("prefix: /", format), "", ""));
    let at = proxy.listener("main");
    let greeting = Greeting { shows: Some(&client), ..Greeting::new("one.test", &authority) };
    let answer = get(&mut connect(at, &greeting).expect("a handshake"), "/").expect("an answer");
    let words = told(&answer).split('|').collect::<Vec<_>>();
    let (subject, issuer) = ("CN=client.test,O=", "CN=tests,O=");
    assert!(words[0].starts_with(subject) || words[0] == "CN=client.test", "{words:?}");
    assert!(words[1].starts_with(issuer) || words[1] == "CN=tests", "{words:?}");
    assert_eq!(words[2..5], ["spiffe://tests/client,spiffe://tests/b", "client.test", ""]);
    assert!(words[5].contains("CN=one.test"), "{words:?}");
    assert_eq!(words[6..8], ["spiffe://tests/proxy", "1975"], "{words:?}");
    // The client has not shown who signed its certificate; it is one of our authorities.
    assert!(words[8].len() >= 8, "{words:?}");
    // Who shows nothing is told nothing of.
    let greeting = Greeting::new("one.test", &authority);
    let answer = get(&mut connect(at, &greeting).expect("a handshake"), "/").expect("an answer");
    assert!(told(&answer).starts_with("|||||CN="), "{answer}");
}

#[test]
fn a_handshake_with_a_host_is_told_of() {
    let (authority, _, folder) = stage();
    let host = origin(authority.issue(&["host.test"]).server(Some(&authority), &[]));
    let trusts =
        format!("validation_context: {{trusted_ca: {{filename: {}/ca.pem}}}}", folder.display());
    let cluster = format!(
        "  clusters:\n{}    transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext, sni: host.test, \
         common_tls_context: {{{}, {trusts}}}}}}}\n",
        support::config::cluster("up", &[host]),
        identity(&folder, "client"),
    );
    let format = "%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_SERVER_NAME% %UPSTREAM_PEER_DNS_SAN% %UPSTREAM_LOCAL_DNS_SAN%";
    let route = format!(
        "{{match: {{prefix: /}}, route: {{cluster: up}}, response_headers_to_add: [{{header: {{key: x-told, value: \"{format}\"}}}}]}}"
    );
    let proxy = Proxy::start(&config(&folder, "", &route, "", &cluster));
    let greeting = Greeting::new("one.test", &authority);
    let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
    let answer = get(&mut client, "/").expect("an answer");
    // Source: `tls_maximum_protocol_version` is TLS 1.2 towards hosts, where nothing is said.
    let expected = "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 host.test host.test client.test";
    assert_eq!(told(&answer), expected, "{answer}");
}

#[test]
fn what_a_certificate_says_is_forwarded_as_the_mode_has_it() {
    let (authority, client, folder) = stage();
    let shown = Some(&client);
    let set = "set_current_client_cert_details: {dns: true, uri: true},";
    let by = "By=spiffe://tests/proxy;Hash=";
    let own = ";URI=spiffe://tests/client;URI=spiffe://tests/b;DNS=client.test";
    for (mode, shows, expected) in [
        ("SANITIZE", shown, ["", ""]),
        ("FORWARD_ONLY", shown, ["theirs", "theirs"]),
        ("FORWARD_ONLY", None, ["", ""]),
        ("APPEND_FORWARD", shown, [&format!("theirs,{by}"), own]),
        ("APPEND_FORWARD", None, ["", ""]),
        ("SANITIZE_SET", shown, [by, own]),
        ("SANITIZE_SET", None, ["", ""]),
        ("ALWAYS_FORWARD_ONLY", None, ["theirs", "theirs"]),
    ] {
        let options = format!("forward_client_cert_details: {mode}, {set}");
        let route = says("prefix: /", "said %REQ(x-forwarded-client-cert)%");
        let proxy = Proxy::start(&config(&folder, &options, &route, "", ""));
        let greeting = Greeting { shows, ..Greeting::new("one.test", &authority) };
        let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
        let answer = get(&mut client, "/ HTTP/1.1\r\nx-forwarded-client-cert: theirs\r\nx-rest:");
        let answer = answer.expect("an answer");
        let told = told(&answer).strip_prefix("said").expect("the format").trim();
        let [starts, ends] = expected;
        let empty = starts.is_empty() && !told.is_empty();
        assert!(!empty && told.starts_with(starts) && told.ends_with(ends), "{mode}: {told}");
    }
}

#[test]
fn routes_ask_for_a_certificate_and_whether_it_is_trusted() {
    let (authority, client, folder) = stage();
    let stranger = Authority::new("strangers").issue(&["client.test"]);
    let routes = [
        says("prefix: /, tls_context: {presented: true, validated: true}", "trusted"),
        says("prefix: /, tls_context: {presented: true}", "shown"),
        says("prefix: /", "nothing"),
    ];
    let more = ", trust_chain_verification: ACCEPT_UNTRUSTED";
    let proxy = Proxy::start(&config(&folder, "", &routes.join(", "), more, ""));
    for (shows, expected) in
        [(Some(&client), "trusted"), (Some(&stranger), "shown"), (None, "nothing")]
    {
        let greeting = Greeting { shows, ..Greeting::new("one.test", &authority) };
        let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
        assert_eq!(told(&get(&mut client, "/").expect("an answer")), expected);
    }
}

#[test]
fn a_client_that_is_asked_for_a_name_must_show_it_and_why_it_was_refused_is_logged() {
    let (authority, client, folder) = stage();
    let more = ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: client.test}}]";
    let flags = ["--file-flush-interval-msec", "20"];
    let proxy = Proxy::start_with(&config(&folder, "", &says("prefix: /", "in"), more, ""), &flags);
    let other = authority.issue(&["other.test"]);
    for (shows, let_in) in [(Some(&client), true), (Some(&other), false), (None, false)] {
        let greeting = Greeting { shows, ..Greeting::new("one.test", &authority) };
        // In TLS 1.3 a client has shaken hands before it hears that it may not come in.
        let answer = connect(proxy.listener("main"), &greeting).and_then(|mut c| get(&mut c, "/"));
        assert_eq!(answer.is_ok_and(|answer| answer.contains("x-told: in")), let_in);
    }
    // HTTP hears nothing: no alert could mean anything to it.
    let mut plain = TcpStream::connect(proxy.listener("main")).expect("a connection");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert_eq!(heard, b"");
    let log = || fs::read_to_string(folder.join("listener.log")).unwrap_or_default();
    wait_for("a line for each connection", || (log().lines().count() == 4).then_some(()));
    let known = "TLSv1.3 TLS_AES_256_GCM_SHA384";
    for expected in [
        format!(
            "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:\
             verify_cert_failed:_SAN_matcher,_certificate_SANs_are_[other.test]:TLS_error_end {known} other.test one.test"
        ),
        format!(
            "TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:\
             peer_did_not_provide_required_client_certificate:TLS_error_end {known} - one.test"
        ),
        "TLS_error:|268435612:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end TLSv1.2 - - one.test"
            .to_owned(),
        format!("- {known} client.test one.test"),
    ] {
        assert!(log().lines().any(|line| line == expected), "{expected}: {}", log());
    }
}

/// Observed: Envoy 1.40.
#[test]
fn what_a_connection_begins_with_instead_of_tls_is_told_of_it() {
    let (_, _, folder) = stage();
    let looks = format!(
        "    listener_filters: [{{name: tls, typed_config: {{\"@type\": {TYPES}.filters.listener.tls_inspector.v3.TlsInspector}}}}]\n    filter_chains:\n"
    );
    let config = config(&folder, "", &says("prefix: /", "in"), "", "");
    let (before, after) = config.split_once("    filter_chains:\n").expect("chains");
    let (transport, filters) = after.split_once("\n      filters: ").expect("filters");
    let config = format!(
        "{before}{looks}    - filter_chain_match: {{transport_protocol: raw_buffer}}\n      filters: {filters}{transport}\n      \
         filter_chain_match: {{transport_protocol: tls}}\n      filters: {filters}"
    );
    let proxy = Proxy::start_with(&config, &["--file-flush-interval-msec", "20"]);
    assert_eq!(support::client::get(proxy.listener("main"), "/").status, 200);
    let log = || fs::read_to_string(folder.join("listener.log")).unwrap_or_default();
    wait_for("a line", || (!log().is_empty()).then_some(()));
    let told = "TLS_error|error:1000009c:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end";
    assert!(log().starts_with(told), "{}", log());
}

#[test]
fn a_host_that_ends_a_handshake_is_told_of_as_envoy_does() {
    for (resets, expected) in [
        (false, "upstream_reset_before_response_started{remote_connection_failure}"),
        (
            true,
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|33554536:\
             system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end}",
        ),
    ] {
        let (_, _, folder) = stage();
        let host = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = host.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut client in host.incoming().flatten() {
                let mut hello = [0; 1024];
                // What is left unread when a socket is closed resets the connection.
                let room = if resets { 5 } else { 1024 };
                let _ = client.read(&mut hello[..room]);
            }
        });
        let cluster = format!(
            "  clusters:\n{}    transport_socket: {{name: tls, typed_config: {{\
             \"@type\": {TYPES}.transport_sockets.tls.v3.UpstreamTlsContext}}}}\n",
            support::config::cluster("up", &[address]),
        );
        let route = "{match: {prefix: /}, route: {cluster: up}}";
        let path = folder.display();
        let options = format!(
            "access_log: [{{name: f, typed_config: {{\"@type\": {TYPES}.access_loggers.file.v3.FileAccessLog, \
             path: {path}/http.log, log_format: {{text_format_source: {{inline_string: \"%RESPONSE_CODE_DETAILS%\\n\"}}}}}}}}],"
        );
        let plain = config(&folder, &options, route, "", &cluster);
        let (before, after) = plain.split_once("    - transport_socket: ").expect("a socket");
        let (_, after) = after.split_once("\n      filters: ").expect("filters");
        let flags = ["--file-flush-interval-msec", "20"];
        let proxy = Proxy::start_with(&format!("{before}    - filters: {after}"), &flags);
        assert_eq!(support::client::get(proxy.listener("main"), "/").status, 503);
        let log = || fs::read_to_string(folder.join("http.log")).unwrap_or_default();
        wait_for("a line", || (!log().is_empty()).then_some(()));
        assert_eq!(log().trim_end(), expected);
    }
}
