//! Secrets that change under a listener: what files of discovery bring, what files they name hold, and what a reload reads again.

mod support;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use rustls::HandshakeKind;
use support::{
    certificates::{Authority, Greeting, Identity},
    client::{get as ask, post},
    proxy::{Proxy, folder},
    tls::{connect, connect_with, get},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

fn put(folder: &Path, name: &str, text: &str) {
    let (next, path) = (folder.join("next"), folder.join(name));
    fs::write(&next, text).expect("a file can be written");
    fs::rename(next, path).expect("and moved");
}

fn inline(text: &str) -> String {
    format!("{{inline_string: {}}}", serde_json::json!(text))
}

/// A response with one secret.
fn response(version: &str, name: &str, part: &str) -> String {
    format!(
        "version_info: \"{version}\"\nresources:\n- {{\"@type\": {TYPES}.transport_sockets.tls.v3.Secret, name: {name}, {part}}}\n"
    )
}

fn certificate(identity: &Identity) -> String {
    let (chain, key) = (inline(&identity.chain), inline(&identity.key));
    format!("tls_certificate: {{certificate_chain: {chain}, private_key: {key}}}")
}

/// A listener whose `common_tls_context` is this.
fn config(context: &str, secrets: &str) -> String {
    config_with("", context, secrets)
}

/// The same with more in its context.
fn config_with(more: &str, context: &str, secrets: &str) -> String {
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n{secrets}  listeners:\n  - name: main\n    stat_prefix: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n    - transport_socket: {{name: tls, typed_config: {{\
         \"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, {more}common_tls_context: {{{context}}}}}}}\n      \
         filters: [{{name: hcm, typed_config: {{\
         \"@type\": {TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: main, \
         route_config: {{name: r, virtual_hosts: [{{name: all, domains: [\"*\"], routes: [\
         {{match: {{prefix: /}}, direct_response: {{status: 200}}, response_headers_to_add: [\
         {{header: {{key: x-told, value: \"%DOWNSTREAM_LOCAL_DNS_SAN% %DOWNSTREAM_PEER_DNS_SAN%\"}}}}]}}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.filters.http.router.v3.Router}}}}]}}}}]\n"
    )
}

fn source(folder: &Path, name: &str) -> String {
    format!("sds_config: {{path_config_source: {{path: {}}}}}", folder.join(name).display())
}

/// What a client that asks for `name` is told, if it gets in.
fn told(proxy: &Proxy, greeting: &Greeting<'_>) -> Option<String> {
    let mut client = connect(proxy.listener("main"), greeting).ok()?;
    let answer = get(&mut client, "/").ok()?;
    answer.lines().find_map(|line| line.strip_prefix("x-told: ")).map(str::to_owned)
}

fn stage() -> (Authority, PathBuf) {
    (Authority::new("tests"), folder())
}

#[test]
fn the_next_handshake_has_the_next_certificate_and_no_connection_ends() {
    let (authority, folder) = stage();
    let [one, two] = [["a.test", "one.test"], ["a.test", "two.test"]].map(|n| authority.issue(&n));
    put(&folder, "sds.yaml", &response("1", "own", &certificate(&one)));
    let context = format!(
        "tls_certificate_sds_secret_configs: [{{name: own, {}}}]",
        source(&folder, "sds.yaml")
    );
    let proxy = Proxy::start(&config(&context, ""));
    let greeting = Greeting::new("a.test", &authority);
    assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,one.test "));
    let mut kept = connect(proxy.listener("main"), &greeting).expect("a handshake");
    let mut say = || {
        write!(kept, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").expect("it is open");
        let mut answer = [0; 4096];
        let count = kept.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(say().contains("one.test"));

    put(&folder, "sds.yaml", &response("2", "own", &certificate(&two)));
    wait_for("the next certificate", || {
        (told(&proxy, &greeting)? == "a.test,two.test ").then_some(())
    });
    let answer = say();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("one.test"), "{answer}");
    assert_eq!(proxy.stat("sds.own.update_success"), Some(2));
    assert_eq!(
        proxy.stat("listener.main.server_ssl_socket_factory.ssl_context_update_by_sds"),
        Some(2)
    );

    // When it ends is told by its name.
    let ends = "listener.main.ssl.certificate.own.expiration_unix_time_seconds";
    assert!(proxy.stat(ends).is_some_and(|ends| ends > 1_700_000_000), "{:?}", proxy.stat(ends));
    let days = proxy.stat("server.days_until_first_cert_expiring").expect("a gauge");
    assert!(days > 0 && days < u64::from(u32::MAX), "{days}");

    // What is broken changes nothing, and says so.
    let mixed = Identity { key: one.key.clone(), ..two.clone() };
    let refused = [
        ("[", "update_failure"),
        (&response("3", "own", &certificate(&mixed)), "update_rejected"),
        (&response("3", "other", &certificate(&one)), "update_rejected"),
        (&response("3", "own", "validation_context: {}"), "update_rejected"),
        ("resources: []\n", "update_rejected"),
    ];
    for (at, (text, counted)) in refused.iter().enumerate() {
        put(&folder, "sds.yaml", text);
        let expected = if at == 0 { 1 } else { at as u64 };
        let stat = format!("sds.own.{counted}");
        wait_for("a refusal", || (proxy.stat(&stat)? == expected).then_some(()));
        assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,two.test "), "{text}");
    }
    let log = proxy.log();
    assert!(log.contains("does not match certificate"), "{log}");

    let dump = ask(proxy.admin, "/config_dump").text();
    let dump: serde_json::Value = serde_json::from_str(&dump).expect("JSON");
    let secrets = dump["configs"].as_array().expect("sections").iter();
    let secrets = secrets.filter_map(|one| one.get("dynamic_active_secrets"));
    let shown = secrets.map(ToString::to_string).collect::<String>();
    assert!(shown.contains("\"version_info\":\"2\"") && shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn who_is_trusted_changes_and_what_the_context_itself_asks_for_stays() {
    let (authority, folder) = stage();
    let other = Authority::new("others");
    authority.issue(&["a.test"]).write(&folder, "own");
    let trust = |authority: &Authority| {
        format!("validation_context: {{trusted_ca: {}}}", inline(&authority.pem()))
    };
    put(&folder, "sds.yaml", &response("1", "trust", &trust(&authority)));
    let at = folder.display();
    let context = format!(
        "tls_certificates: [{{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}}}], \
         combined_validation_context: {{default_validation_context: {{match_typed_subject_alt_names: \
         [{{san_type: DNS, matcher: {{exact: client.test}}}}]}}, \
         validation_context_sds_secret_config: {{name: trust, {}}}}}",
        source(&folder, "sds.yaml")
    );
    let proxy = Proxy::start(&config(&context, ""));
    let certs = || ask(proxy.admin, "/certs").text();
    assert_eq!(certs().matches("serial_number").count(), 2, "{}", certs());
    let enters = |identity: &Identity| {
        let greeting = Greeting { shows: Some(identity), ..Greeting::new("a.test", &authority) };
        told(&proxy, &greeting).is_some()
    };
    let [ours, theirs] = [&authority, &other].map(|one| one.issue(&["client.test"]));
    let [stranger, named] = [&authority, &other].map(|one| one.issue(&["stranger.test"]));
    assert!(enters(&ours) && !enters(&theirs) && !enters(&stranger));
    put(&folder, "sds.yaml", &response("2", "trust", &trust(&other)));
    wait_for("the others", || enters(&theirs).then_some(()));
    assert!(!enters(&ours) && !enters(&named));
}

#[test]
fn a_secret_that_has_not_come_keeps_clients_outside_until_it_comes() {
    let (authority, folder) = stage();
    let own = authority.issue(&["a.test"]);
    put(&folder, "sds.yaml", "resources: []\n");
    let context = format!(
        "tls_certificate_sds_secret_configs: [{{name: own, {}}}]",
        source(&folder, "sds.yaml")
    );
    let proxy = Proxy::start(&config(&context, ""));
    let greeting = Greeting::new("a.test", &authority);
    assert_eq!(told(&proxy, &greeting), None);
    let not_ready = "listener.main.server_ssl_socket_factory.downstream_context_secrets_not_ready";
    assert_eq!(proxy.stat(not_ready), Some(1));
    assert!(ask(proxy.admin, "/config_dump").text().contains("dynamic_warming_secrets"));
    put(&folder, "sds.yaml", &response("1", "own", &certificate(&own)));
    wait_for("the secret", || told(&proxy, &greeting));
}

#[test]
fn files_that_a_secret_names_are_watched_with_their_folder_or_by_themselves() {
    let (authority, folder) = stage();
    for watched in [false, true] {
        let folder = folder.join(if watched { "with" } else { "without" });
        fs::create_dir_all(&folder).expect("a folder");
        let [one, two] =
            [["a.test", "one.test"], ["a.test", "two.test"]].map(|n| authority.issue(&n));
        one.write(&folder, "own");
        let at = folder.display();
        let more =
            if watched { format!(", watched_directory: {{path: {at}}}") } else { String::new() };
        let part = format!(
            "tls_certificate: {{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}{more}}}"
        );
        put(&folder, "sds.yaml", &response("1", "own", &part));
        let context = format!(
            "tls_certificate_sds_secret_configs: [{{name: own, {}}}]",
            source(&folder, "sds.yaml")
        );
        let proxy = Proxy::start(&config(&context, ""));
        let greeting = Greeting::new("a.test", &authority);
        assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,one.test "));
        // Half of it is no pair yet, and changes nothing.
        put(&folder, "own.key", &two.key);
        wait_for("half a pair", || proxy.stat("sds.own.key_rotation_failed").filter(|n| *n > 0));
        assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,one.test "));
        put(&folder, "own.pem", &two.chain);
        wait_for("the next pair", || {
            (told(&proxy, &greeting)? == "a.test,two.test ").then_some(())
        });
        assert_eq!(proxy.stat("sds.own.update_success"), Some(1));
    }
}

#[test]
fn a_reload_reads_files_of_certificates_again_and_touches_nothing_where_they_are_the_same() {
    let (authority, folder) = stage();
    let [one, two] = [["a.test", "one.test"], ["a.test", "two.test"]].map(|n| authority.issue(&n));
    one.write(&folder, "own");
    let at = folder.display();
    let context = "tls_certificate_sds_secret_configs: [{name: own}]";
    let secrets = format!(
        "  secrets: [{{name: own, tls_certificate: {{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}}}}}]\n"
    );
    let proxy = Proxy::start(&config(context, &secrets));
    let greeting = Greeting::new("a.test", &authority);
    assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,one.test "));
    let reload = || post(proxy.admin, "/reload").text();
    let answer = reload();
    assert!(answer.contains("no connection is touched"), "{answer}");
    two.write(&folder, "own");
    let answer = reload();
    assert!(answer.contains("listener main changes"), "{answer}");
    assert_eq!(told(&proxy, &greeting).as_deref(), Some("a.test,two.test "));
}

#[test]
fn a_session_goes_on_for_as_long_as_the_key_of_its_ticket_is_there() {
    let (authority, folder) = stage();
    authority.issue(&["a.test"]).write(&folder, "own");
    let bring = |version: &str, keys: &[(u8, usize)]| {
        let keys = keys.iter().map(|(byte, length)| {
            let key = folder.join(format!("key{byte}-{length}"));
            fs::write(&key, vec![*byte; *length]).expect("a file");
            format!("{{filename: {}}}", key.display())
        });
        let keys = keys.collect::<Vec<_>>().join(", ");
        let part = format!("session_ticket_keys: {{keys: [{keys}]}}");
        put(&folder, "sds.yaml", &response(version, "tickets", &part));
    };
    bring("1", &[(1, 80)]);
    let at = folder.display();
    let more = format!(
        "session_ticket_keys_sds_secret_config: {{name: tickets, {}}}, ",
        source(&folder, "sds.yaml")
    );
    let own = format!(
        "tls_certificates: [{{certificate_chain: {{filename: {at}/own.pem}}, private_key: {{filename: {at}/own.key}}}}]"
    );
    let proxy = Proxy::start(&config_with(&more, &own, ""));
    let greeting = Greeting::new("a.test", &authority);
    // Who comes with one of its sessions gets another with the answer.
    let comes = |client: &std::sync::Arc<rustls::ClientConfig>| {
        let connected = connect_with(proxy.listener("main"), client.clone(), &greeting);
        let mut client = connected.expect("a handshake");
        get(&mut client, "/").expect("an answer");
        client.conn.handshake_kind()
    };
    let counted = |stat: &str, count: u64| {
        let stat = format!("sds.tickets.{stat}");
        wait_for(&stat, || (proxy.stat(&stat)? == count).then_some(()));
    };
    let [early, late, last] = [(); 3].map(|()| greeting.config());
    assert_eq!(comes(&early), Some(HandshakeKind::Full));
    assert_eq!(comes(&late), Some(HandshakeKind::Full));

    bring("2", &[(2, 80), (1, 80)]);
    counted("update_success", 2);
    assert_eq!(comes(&early), Some(HandshakeKind::Resumed));

    bring("3", &[(2, 80)]);
    counted("update_success", 3);
    assert_eq!(comes(&late), Some(HandshakeKind::Full));
    // Its later session has the later key.
    assert_eq!(comes(&early), Some(HandshakeKind::Resumed));

    assert_eq!(comes(&last), Some(HandshakeKind::Full));
    bring("4", &[(3, 48)]);
    counted("update_rejected", 1);
    assert_eq!(comes(&last), Some(HandshakeKind::Resumed));
    let log = proxy.log();
    assert!(log.contains("Incorrect TLS session ticket key length. Length 48"), "{log}");
}
