//! Tests of formats as a whole.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::codec::{Known, RequestHead, ResponseHead};

fn filled(text: &str) -> String {
    let mut request = RequestHead::default();
    request.set_path(b"/new?a=1&b=%41&a=2");
    request.set_authority(b"host.test:80");
    request.headers.append(Known::XEnvoyOriginalPath, b"/old?x=1");
    request.headers.append(Known::ContentType, b"application/grpc");
    request.headers.append_name(b"x-long", b"abcdefghij");
    let mut response = ResponseHead { status: 503, ..ResponseHead::default() };
    response.headers.append(Known::Server, b"them");
    let metadata = serde_json::json!({"ns": {"b": [1, 2.5], "a": {"k": "v"}}});
    let info = StreamInfo {
        request: Some(&request),
        response: Some(&response),
        status: 503,
        details: "went away",
        received: 3,
        sent: 4,
        elapsed: Duration::from_micros(7_900),
        peer: Some(([10, 1, 2, 3], 99).into()),
        remote: Some([192, 0, 2, 1].into()),
        local: Some(([127, 0, 0, 1], 80).into()),
        route_name: "r",
        route_metadata: Some(&metadata),
        virtual_host_metadata: metadata.get("ns"),
        upstream: Some(UpstreamInfo { address: "10.0.0.1:81", ..UpstreamInfo::default() }),
        log_type: AccessLogType::DownstreamEnd,
        ..StreamInfo::default()
    };
    let mut out = Vec::new();
    Format::parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).write(&mut out, &info);
    String::from_utf8(out).unwrap()
}

#[test]
fn operators_say_what_envoys_say() {
    for (text, expected) in [
        ("", ""),
        ("a 100%% b", "a 100% b"),
        (
            "%REQ(:METHOD)%|%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%|%REQ(:PATH)%",
            "-|/old?x=1|/new?a=1&b=%41&a=2",
        ),
        (
            "%REQ(x-long):3%|%REQ(x-none?x-long):99%|%REQ(x-none)%|%REQ(Host)%",
            "abc|abcdefghij|-|host.test:80",
        ),
        ("%REQ_WITHOUT_QUERY(x-none?:PATH)%|%REQ_WITHOUT_QUERY(:PATH):2%", "/new|/n"),
        ("%RESP(server)%|%RESP(:status)%|%TRAILER(x)%", "them|503|-"),
        ("%PATH%|%PATH(NQ)%|%PATH(NQ:PATH)%|%PATH(WQ:ORIG):4%", "/old?x=1|/old|/new|/old"),
        (
            "%QUERY_PARAM(a)%|%QUERY_PARAM(b)%|%QUERY_PARAM(z)%|%QUERY_PARAMS%|%QUERY_PARAMS(DECODED):8%",
            "1|A|-|a=1&b=%41&a=2|a=1&b=A&",
        ),
        (
            "%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
            "503|went_away|went away",
        ),
        ("%BYTES_RECEIVED%|%BYTES_SENT%|%DURATION%|%REQUEST_DURATION%", "3|4|7|-"),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "192.0.2.1:0|10.1.2.3:99",
        ),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(16)%|%DOWNSTREAM_LOCAL_PORT%",
            "10.1.0.0/16|80",
        ),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(99)%", "192.0.2.1/32"),
        (
            "%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%|%UPSTREAM_PROTOCOL%",
            "10.0.0.1:81|10.0.0.1|-",
        ),
        (
            "%ROUTE_NAME%|%UPSTREAM_CLUSTER%|%RESPONSE_FLAGS%|%ACCESS_LOG_TYPE%",
            "r|-|-|DownstreamEnd",
        ),
        (
            "%METADATA(ROUTE:ns:a:k)%|%METADATA(ROUTE:ns)%|%METADATA(ROUTE:no)%|%METADATA(VIRTUAL_HOST:a:k)%",
            r#"v|{"a":{"k":"v"},"b":[1,"2.5"]}|-|v"#,
        ),
        ("%METADATA(ROUTE:ns):5%|%DYNAMIC_METADATA(a:b)%|%FILTER_STATE(a:PLAIN)%", r#"{"a":|-|-"#),
        (
            "%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS_NUMBER%",
            "Unavailable|UNAVAILABLE|14",
        ),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%|%ENVIRONMENT(NO_SUCH_VARIABLE)%", "-|-"),
        (
            r#"%COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": ":authority"}]}):4%"#,
            "host",
        ),
        ("%START_TIME(%%)%|%UPSTREAM_CONNECTION_ID%|%LOCAL_REPLY_BODY%|%CUSTOM_FLAGS%", "%|0||"),
    ] {
        assert_eq!(filled(text), expected, "{text}");
    }
}

#[test]
fn what_envoy_refuses_is_refused_in_its_words() {
    // Observed: Envoy 1.40, `--mode validate`.
    for (text, why) in [
        ("%", "Incorrect configuration: %. Couldn't find valid command at position 0"),
        (
            "a %req(x)%",
            "Incorrect configuration: a %req(x)%. Couldn't find valid command at position 2",
        ),
        ("%REQ(a", "Incorrect configuration: %REQ(a. Couldn't find valid command at position 0"),
        (
            "%REQ(a)x%",
            "Incorrect configuration: %REQ(a)x%. Couldn't find valid command at position 0",
        ),
        ("%%%", "Incorrect configuration: %%%. Couldn't find valid command at position 2"),
        (
            "%REQ(a):99999999999999999999999%",
            "Incorrect configuration: %REQ(a):99999999999999999999999%. Couldn't find valid command at position 0",
        ),
        ("%REQ%", "REQ requires parameters"),
        ("%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
        ("%REQ(a b)%", "Invalid header configuration. Format string contains invalid characters."),
        ("%BYTES_SENT(x)%", "BYTES_SENT does not take any parameters or length"),
        ("%BYTES_SENT:4%", "BYTES_SENT does not take any parameters or length"),
        ("%START_TIME:3%", "START_TIME does not allow length to be specified."),
        ("%START_TIME(%n)%", "Invalid header configuration. Format string contains newline."),
        ("%NOSUCH%", "Not supported field in StreamInfo: NOSUCH"),
        ("%PATH(XX)%", "Invalid PATH option: 'XX', only 'WQ'/'NQ' are allowed"),
        ("%METADATA(FOO:a)%", "FOO is not supported type of metadata"),
        ("%FILTER_STATE()%", "Invalid filter state configuration, key cannot be empty."),
        ("%COMMON_DURATION(a)%", "Invalid common duration configuration: a."),
        (r#"%COALESCE({"operators":[]})%"#, "COALESCE: 'operators' array must not be empty"),
    ] {
        let refused = Format::parse(text).unwrap_err();
        assert_eq!(refused.to_string(), why, "{text}");
    }
    assert!(matches!(Format::parse("%CEL(x)%"), Err(FormatError::Lacking { name: "CEL" })));
    let near = Format::parse("%RESPONSE_COD%").unwrap_err();
    assert_eq!(near.hint(), "did you mean %RESPONSE_CODE%?");
}

#[test]
fn no_operator_stands_twice() {
    let mut names: Vec<&str> = OPERATORS.iter().map(|kind| kind.name).collect();
    names.extend(LACKING);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

proptest! {
    #[test]
    fn any_text_is_a_format_or_refused_and_what_is_printed_is_the_same_format(
        text in r"([a-z ]|%%|%|\(|\)|:[0-9]|%(REQ|RESP|START_TIME|PATH|DURATION|GRPC_STATUS)(\((a|x\?y|NQ|%Y%m|)\))?(:[0-9]{1,3})?%){0,8}",
    ) {
        if let Ok(format) = Format::parse(&text) {
            let again = Format::parse(&format.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&format));
            format.write(&mut Vec::new(), &StreamInfo::default());
        }
    }

    #[test]
    fn no_bytes_upset_the_parser(text in ".*") {
        let _ = Format::parse(&text);
    }
}
