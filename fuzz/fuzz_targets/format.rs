//! Any text is a format or is told what is wrong with it; a format that is printed is the same format, what it
//! writes has no more lines than its own text brings, and as JSON it is one line of JSON.
//!
//! The input is a format, and behind its first NUL a request's head to fill it in from.
#![no_main]

use std::{net::SocketAddr, time::Duration};

use libfuzzer_sys::fuzz_target;
use understudy::{
    codec::{
        RequestHead, ResponseHead,
        http1::{
            Limits,
            request::{Accepts, parse},
        },
    },
    format::{Format, JsonFormat, StreamInfo, UpstreamInfo},
};

const LIMITS: Limits = Limits::new(4096, 32);

const ALL: Accepts = Accepts { http_10: true, absolute_form: true };

fuzz_target!(|input: &str| {
    let (text, head) =
        input.split_once('\0').unwrap_or((input, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    any_json_is_a_format_or_refused(text);
    let format = match Format::parse(text) {
        Ok(format) => format,
        Err(error) => {
            let _ = (error.to_string(), error.hint());
            return;
        }
    };
    assert_eq!(Format::parse(&format.to_string()).as_ref(), Ok(&format));
    let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
    let _ = parse(head.as_bytes(), &LIMITS, ALL, &mut request);
    response.status = 200;
    response.headers.append_name(b"grpc-status", b"7");
    response.headers.append_name(b"x-two", b"\xff\"\\");
    let json = serde_json::json!({ "one": text, "more": [text, { text: 1 }] });
    let json = JsonFormat::parse(&json).expect("the same text");
    for info in [StreamInfo::default(), filled(&request, &response)] {
        let (mut out, mut omitting, mut line) = (Vec::new(), Vec::new(), Vec::new());
        format.write(&mut out, &info);
        format.write_omitting(&mut omitting, &info);
        let newlines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        assert!(newlines(&out) <= newlines(text.as_bytes()));
        assert!(newlines(&omitting) <= newlines(text.as_bytes()));
        for omit in [false, true] {
            line.clear();
            json.write(&mut line, &info, omit);
            serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
            assert_eq!(newlines(&line), 0);
        }
    }
});

fn any_json_is_a_format_or_refused(text: &str) {
    let Ok(json) = serde_json::from_str(text) else { return };
    if let Ok(format) = JsonFormat::parse(&json) {
        let mut line = Vec::new();
        format.write(&mut line, &StreamInfo::default(), false);
        serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
    }
}

fn filled<'a>(request: &'a RequestHead, response: &'a ResponseHead) -> StreamInfo<'a> {
    let address = |port: u16| Some(SocketAddr::from(([192, 0, 2, 1], port)));
    StreamInfo {
        request: Some(request),
        response: Some(response),
        trailers: Some(&response.headers),
        elapsed: Duration::from_micros(1_234_567),
        status: response.status,
        details: "via_upstream",
        received: 3,
        sent: 4,
        remote: address(0).map(|address| address.ip()),
        peer: address(40_000),
        local: address(80),
        connection_id: 5,
        route_name: "route",
        cluster: "cluster",
        cluster_stat_name: "other",
        upstream: Some(UpstreamInfo { address: "192.0.2.9:1", hostname: "h", connection: None }),
        attempts: 2,
        local_reply_body: b"no\xff",
        ..StreamInfo::default()
    }
}
