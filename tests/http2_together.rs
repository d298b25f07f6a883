//! What goes out together on an HTTP/2 connection, as a client sees it by the records of TLS.

mod support;

use std::{
    fs,
    io::{Read, Write},
};

use support::{
    certificates::{Authority, Greeting, TlsClient},
    proxy::{Proxy, folder},
    tls::connect,
};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// Bytes of each answer's body: a frame that the codec does not copy.
const BODY_BYTES: usize = 600;

/// A proxy that answers by itself, to those who trust the authority.
fn answering(authority: &Authority) -> Proxy {
    let folder = folder();
    authority.issue(&["one.test"]).write(&folder, "one");
    let file = |kind: &str| folder.join(format!("one.{kind}")).display().to_string();
    let body = folder.join("body");
    fs::write(&body, "x".repeat(BODY_BYTES)).expect("a file");
    Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    filter_chains:\n    \
         - transport_socket: {{name: tls, typed_config: {{\"@type\": {TLS}, common_tls_context: \
         {{alpn_protocols: [h2], tls_certificates: [{{certificate_chain: {{filename: {}}}, \
         private_key: {{filename: {}}}}}]}}}}}}\n      \
         filters: [{{name: hcm, typed_config: {{\"@type\": {HTTP}, stat_prefix: main, \
         route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{{match: {{prefix: /}}, \
         direct_response: {{status: 200, body: {{filename: {}}}}}}}]}}]}}, \
         http_filters: [{{name: router, typed_config: {{\"@type\": {ROUTER}}}}}]}}}}]\n",
        file("pem"),
        file("key"),
        body.display(),
    ))
}

/// The preface, no settings, and a GET on each of so many streams.
fn requests(count: u8) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for stream in 0..count {
        // `:method: GET`, `:scheme: https`, `:path: /` and an authority of one letter.
        let block = [0x82, 0x87, 0x84, 0x01, 1, b'a'];
        bytes.extend([0, 0, block.len() as u8, 1, 5, 0, 0, 0, 2 * stream + 1]);
        bytes.extend(block);
    }
    bytes
}

/// Streams that have ended in these bytes, and the bytes of their bodies.
fn ended(mut bytes: &[u8]) -> (usize, usize) {
    let (mut streams, mut bodies) = (0, 0);
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(next) = rest.get(length..) else { break };
        if *kind == 0 {
            streams += usize::from(flags & 1);
            bodies += length;
        }
        bytes = next;
    }
    (streams, bodies)
}

/// Reads until so many streams have ended; gives the records that it took.
fn records_of(client: &mut TlsClient, streams: usize) -> usize {
    let (mut raw, mut frames, mut chunk) = (Vec::new(), Vec::new(), [0; 4096]);
    while ended(&frames).0 < streams {
        let count = client.sock.read(&mut chunk).expect("more answers");
        assert!(count > 0, "the connection ended after {} answers", ended(&frames).0);
        raw.extend_from_slice(&chunk[..count]);
        let mut unread = &chunk[..count];
        while !unread.is_empty() {
            client.conn.read_tls(&mut unread).expect("room");
            client.conn.process_new_packets().expect("TLS");
            // It blocks where there is no more.
            let _ = client.conn.reader().read_to_end(&mut frames);
        }
    }
    assert_eq!(ended(&frames), (streams, streams * BODY_BYTES));
    let (mut rest, mut records) = (&raw[..], 0);
    while let [_, _, _, a, b, after @ ..] = rest {
        records += 1;
        rest = after.get(usize::from(u16::from_be_bytes([*a, *b]))..).unwrap_or_default();
    }
    records
}

#[test]
fn answers_to_requests_that_came_together_go_out_together() {
    let authority = Authority::new("tests");
    let proxy = answering(&authority);
    let greeting = Greeting { alpn: &["h2"], ..Greeting::new("one.test", &authority) };
    let mut client = connect(proxy.listener("main"), &greeting).expect("a handshake");
    client.write_all(&requests(20)).expect("requests");
    client.flush().expect("requests");
    // Settings, their acknowledgement, tickets and windows are some; 20 answers are less than 16 KiB.
    let records = records_of(&mut client, 20);
    assert!(records < 10, "20 answers came in {records} records");
}
