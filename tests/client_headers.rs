//! Whom a request is taken to be from, and what is said of it upstream.

mod support;

use support::{client::Client, config::front_with, origin::Origin, proxy::Proxy};

/// Sends a request with these header lines through a proxy with these manager lines; gives the answer's
/// status and the head as the origin saw it.
fn sent(manager: &str, lines: &[&str]) -> (u16, String) {
    let origin = Origin::saying("a");
    let manager: String = manager.lines().map(|line| format!("          {line}\n")).collect();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager));
    let mut client = Client::connect(proxy.listener("main"));
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    client.send(format!("GET / HTTP/1.1\r\nhost: t\r\n{lines}\r\n"));
    let status = client.answer().status;
    (status, origin.heads().pop().unwrap_or_default())
}

fn detector(kind: &str, options: &str) -> String {
    format!(
        "original_ip_detection_extensions: [{{name: d, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.http.original_ip_detection.{kind}, {options}}}}}]\n\
         internal_address_config: {{cidr_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]}}"
    )
}

#[test]
fn a_detected_address_decides_who_is_inside() {
    let hops = detector("xff.v3.XffConfig", "xff_num_trusted_hops: 0");
    let cidrs = detector(
        "xff.v3.XffConfig",
        "xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}]}",
    );
    let foreign = detector(
        "xff.v3.XffConfig",
        "xff_trusted_cidrs: {cidrs: [{address_prefix: 192.0.2.0, prefix_len: 24}]}",
    );
    let header = detector("custom_header.v3.CustomHeaderConfig", "header_name: X-Real");
    let trusted = detector(
        "custom_header.v3.CustomHeaderConfig",
        "header_name: x-real, allow_extension_to_set_address_as_trusted: true",
    );
    for (manager, line, internal) in [
        (&hops, "x-forwarded-for: 10.0.0.1", true),
        (&hops, "x-forwarded-for: 1.2.3.4, 10.0.0.1", false),
        (&hops, "x-forwarded-for: junk", false),
        (&cidrs, "x-forwarded-for: 10.0.0.1", true),
        (&foreign, "x-forwarded-for: 10.0.0.1", false),
        (&header, "x-real: 10.0.0.1", false),
        (&trusted, "x-real: 10.0.0.1", true),
    ] {
        let (status, head) = sent(manager, &[line, "x-envoy-internal: true"]);
        assert_eq!(status, 200);
        assert_eq!(
            head.contains("x-envoy-internal: true"),
            internal,
            "{line} by {manager}: {head}"
        );
        // What an untrusted peer says of others is not passed on without its own address.
        assert_eq!(head.contains("x-forwarded-for: 10.0.0.1,"), *manager == foreign, "{head}");
    }
}

#[test]
fn a_request_without_the_header_that_says_who_sent_it_is_rejected() {
    let options = "header_name: x-real, reject_with_status: {code: TooManyRequests}";
    let manager = detector("custom_header.v3.CustomHeaderConfig", options);
    assert_eq!(sent(&manager, &["x-real: 1.2.3.4"]).0, 200);
    for lines in [&[][..], &["x-real: nobody"]] {
        assert_eq!(sent(&manager, lines), (429, String::new()));
    }
}

#[test]
fn scheme_port_agent_and_certificate_are_told_as_configured() {
    let https = "scheme_header_transformation: {scheme_to_overwrite: https}";
    let always = "forward_client_cert_details: ALWAYS_FORWARD_ONLY";
    for (manager, line, expected) in [
        ("append_x_forwarded_port: true", "x: 1", "x-forwarded-port: "),
        ("append_x_forwarded_port: true", "x-forwarded-port: 9", "x-forwarded-port: 9\r\n"),
        (https, "x-forwarded-proto: http", "x-forwarded-proto: https\r\n"),
        (always, "x-forwarded-client-cert: By=a", "x-forwarded-client-cert: By=a\r\n"),
        ("add_user_agent: true", "user-agent: mine", "user-agent: mine\r\n"),
        ("add_user_agent: true", "x: 1", "x-envoy-downstream-service-cluster: "),
    ] {
        let (status, head) = sent(manager, &[line]);
        assert_eq!(status, 200, "{manager}");
        assert!(head.contains(expected), "{expected} in {head}");
    }
    for mode in ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET"] {
        let manager = format!("forward_client_cert_details: {mode}");
        let (_, head) = sent(&manager, &["x-forwarded-client-cert: By=a"]);
        assert!(!head.contains("client-cert"), "{mode}: nobody has shown a certificate: {head}");
    }
}

#[test]
fn ids_and_referers_of_clients_go_on_as_far_as_they_are_to_be_believed() {
    let id = "x-request-id: aaaaaaaa-aaaa-9aaa-8aaa-aaaaaaaaaaaa";
    let edge = "use_remote_address: true\npreserve_external_request_id: true";
    assert!(sent("", &[id]).1.contains(id));
    let untraced = "x-request-id: aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
    assert!(sent(edge, &[id]).1.contains(untraced), "no client decides what is traced");
    assert!(!sent("", &["x-request-id:"]).1.contains("x-request-id: \r\n"));
    assert!(sent("", &["referer: http://a/b"]).1.contains("referer: http://a/b"));
    assert!(!sent("", &["referer: http://u@a/b"]).1.contains("referer"));
    assert_eq!(sent("", &["x-forwarded-proto:"]).0, 404);
}
