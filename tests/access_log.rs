//! The access log as who reads it sees it: formats, filters, and a disk that is full.

mod support;

use std::{fs, io::Write, path::Path};

use support::{
    client::{Client, get},
    config::{around, cluster, front_with},
    origin::Origin,
    proxy::{Proxy, folder},
    wait_for,
};

/// One log: its file, its filter and what is written, in braces.
fn log(path: &Path, filter: &str, format: &str) -> String {
    let filter = if filter.is_empty() { String::new() } else { format!("filter: {filter}, ") };
    let format = if format.is_empty() { String::new() } else { format!(", {format}") };
    format!(
        "{{name: file, {filter}typed_config: {{\"@type\": type.googleapis.com/\
         envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}{format}}}}}",
        path.display()
    )
}

fn text(format: &str) -> String {
    format!("log_format: {{text_format_source: {{inline_string: '{format}'}}}}")
}

fn manager(logs: &[String], more: &str) -> String {
    format!("          access_log: [{}]\n{more}", logs.join(", "))
}

/// The lines of a log once the proxy has ended.
fn lines(mut proxy: Proxy, path: &Path) -> Vec<String> {
    proxy.signal("TERM");
    assert!(proxy.exit_status().success());
    let text = fs::read_to_string(path).expect("the log was written");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_is_what_its_format_says_and_is_there_for_requests_that_its_filter_passes() {
    let origin = Origin::saying("hello");
    let folder = folder();
    let (texts, failed, posts) = (folder.join("text"), folder.join("failed"), folder.join("posts"));
    let format = text(
        "%REQ(:METHOD)% %REQ(X-NONE)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% \
         %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_PROTOCOL% %PROTOCOL% %REQ(X-LONG):3% 100%%",
    );
    let missing =
        "{status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: k}}}}";
    let posted = "{header_filter: {header: {name: ':method', string_match: {exact: POST}}}}";
    let logs = [
        log(&texts, "", &format),
        log(&failed, missing, &text("%REQ(:PATH)%|")),
        log(&posts, posted, &text("%REQ(:PATH)%|")),
    ];
    let dead = "127.0.0.1:1".parse().expect("an address");
    let config = front_with(&[("a", &[origin.address]), ("dead", &[dead])], &manager(&logs, ""));
    let proxy = Proxy::start(&config);
    let main = proxy.listener("main");
    // One connection is one worker, which writes its lines in order.
    let mut client = Client::connect(main);
    let mut request = |method: &str, path: &str| {
        let more = "host: test\r\nx-long: abcdef\r\ncontent-length: 0\r\n\r\n";
        client.request(format!("{method} {path} HTTP/1.1\r\n{more}"))
    };
    request("GET", "/a");
    request("POST", "/a/post");
    request("GET", "/dead");
    let read = |path: &Path| fs::read_to_string(path).expect("the log was written");
    let written = lines(proxy, &texts).join("");
    let expected = "GET - 200 via_upstream - 5 a HTTP/1.1 HTTP/1.1 abc 100%\
         POST - 200 via_upstream - 5 a HTTP/1.1 HTTP/1.1 abc 100%\
         GET - 503 upstream_reset_before_response_started{remote_connection_failure|\
         delayed_connect_error:_Connection_refused} UF 98 dead - HTTP/1.1 abc 100%";
    assert_eq!(written, expected);
    assert_eq!((read(&failed).as_str(), read(&posts).as_str()), ("/dead|", "/a/post|"));
}

#[test]
fn a_line_of_json_keeps_types_and_leaves_out_what_is_not_there() {
    let origin = Origin::saying("hello");
    let path = folder().join("json");
    let format = "log_format: {omit_empty_values: true, json_format: {status: '%RESPONSE_CODE%', \
                  none: '%REQ(X-NONE)%', agent: '%REQ(USER-AGENT)%', \
                  nested: {list: ['%PROTOCOL%', 1, true]}, both: '%BYTES_SENT% bytes'}}";
    let logs = [log(&path, "", format)];
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager(&logs, "")));
    let agent = "GET /a HTTP/1.1\r\nhost: test\r\nuser-agent: a\"b\\\r\n\r\n";
    Client::connect(proxy.listener("main")).request(agent);
    let expected =
        r#"{"agent":"a\"b\\","both":"5 bytes","nested":{"list":["HTTP/1.1",1,true]},"status":200}"#;
    assert_eq!(lines(proxy, &path), [expected]);
}

#[test]
fn a_request_that_comes_is_logged_where_that_was_asked_for() {
    let origin = Origin::saying("hello");
    let path = folder().join("log");
    let logs = [log(&path, "", &text("%ACCESS_LOG_TYPE% %RESPONSE_CODE%|"))];
    let more = "          access_log_options: {flush_access_log_on_new_request: true}";
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager(&logs, more)));
    get(proxy.listener("main"), "/a");
    assert_eq!(lines(proxy, &path), ["DownstreamStart 0|DownstreamEnd 200|"]);
}

#[test]
fn a_full_disk_loses_lines_and_no_requests_and_says_how_many() {
    let origin = Origin::saying("hello");
    let logs = [log(Path::new("/dev/full"), "", "")];
    let config = front_with(&[("a", &[origin.address])], &manager(&logs, ""));
    let flags = ["--concurrency", "1", "--file-flush-interval-msec", "20"];
    let proxy = Proxy::start_with(&config, &flags);
    for _ in 0..50 {
        assert_eq!(get(proxy.listener("main"), "/a").text(), "hello");
    }
    wait_for("the lost lines to be counted", || {
        proxy.stat("filesystem.write_failed").filter(|failed| *failed > 0)
    });
    assert_eq!(get(proxy.listener("main"), "/a").status, 200);
}

#[test]
fn a_format_that_is_none_is_refused_with_its_place_and_the_way_out() {
    for (format, told) in [
        ("%NOSUCH%", "Not supported field in StreamInfo: NOSUCH"),
        ("%RESPONSE_COD%", "did you mean %RESPONSE_CODE%?"),
        ("100%", "find valid command at position 3"),
        ("%CEL(request.path)%", "the operator %CEL% is known to Envoy, and not supported"),
    ] {
        let logs = [log(Path::new("/dev/null"), "", &text(format))];
        let file = folder().join("config.yaml");
        fs::write(&file, front_with(&[], &manager(&logs, ""))).expect("the file can be written");
        let validate = ["--mode", "validate", "-c"];
        let run = support::proxy::binary().args(validate).arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(told), "{format}: {said}");
        assert!(said.contains("config.yaml:14:"), "{format}: {said}");
    }
}

/// The router of a front, with its options.
fn with_router(config: &str, options: &str) -> String {
    let router = "envoy.extensions.filters.http.router.v3.Router";
    config.replace(&format!("{router}}}"), &format!("{router}, {options}}}"))
}

#[test]
fn each_try_has_a_line_in_the_routers_own_log_with_the_hosts_answer_as_it_came() {
    let origin = Origin::answering(|stream, request| {
        let status = if request.head.contains("x-envoy-attempt-count: 1") { 503 } else { 200 };
        let answer = format!("HTTP/1.1 {status} X\r\nserver: own\r\ncontent-length: 2\r\n\r\nok");
        let _ = stream.write_all(answer.as_bytes());
    });
    let folder = folder();
    let (tries, requests) = (folder.join("tries"), folder.join("requests"));
    let format = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESP(SERVER)% %BYTES_SENT% %BYTES_RECEIVED% \
                  %REQ(X-ENVOY-ATTEMPT-COUNT)%|";
    let routes = "{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: 5xx}}}";
    let host = format!(
        "            - {{name: all, domains: ['*'], include_request_attempt_count: true, routes: [{routes}]}}"
    );
    let clusters = cluster("a", &[origin.address]);
    let logged = manager(&[log(&requests, "", &text(format))], "");
    let options = format!(
        "upstream_log: [{}], upstream_log_options: {{flush_upstream_log_on_upstream_stream: true}}",
        log(&tries, "", &text(format))
    );
    let config = with_router(&around(&logged, "", &host, &clusters), &options);
    let proxy = Proxy::start(&config);
    let post = "POST /a HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(Client::connect(proxy.listener("main")).request(post).text(), "ok");
    let written = lines(proxy, &tries).join("");
    let expected = "UpstreamPoolReady 0 - 0 0 1|UpstreamEnd 503 own 3 0 1|\
                    UpstreamPoolReady 0 - 0 0 2|UpstreamEnd 200 own 3 2 2|";
    assert_eq!(written, expected);
    let written = fs::read_to_string(requests).expect("the log was written");
    assert_eq!(written, "DownstreamEnd 200 envoy 2 3 2|");
}

#[test]
fn bytes_on_the_wire_are_counted_as_the_sockets_have_them() {
    let answer = "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\n\r\nok";
    let origin = Origin::answering(move |stream, _| {
        let _ = stream.write_all(answer.as_bytes());
    });
    let path = folder().join("log");
    let format = text(
        "%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_RECEIVED% \
         %DOWNSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% \
         %UPSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%|",
    );
    let config = front_with(&[("a", &[origin.address])], &manager(&[log(&path, "", &format)], ""));
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let main = proxy.listener("main");
    let request =
        "POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let sent = Client::connect(main).request(request);
    assert_eq!(sent.text(), "ok");
    let totals = |name: &str| proxy.stat(name).unwrap_or(0);
    let down = totals("http.ingress_http.downstream_cx_tx_bytes_total");
    let up = totals("cluster.a.upstream_cx_tx_bytes_total");
    support::h2::H2Client::connect(main).get("/a").expect("an answer");
    let written = lines(proxy, &path).join("");
    let (http1, http2) = written.split_once('|').expect("two lines");
    let fields = 4 + 4 + 3 + 17 + 7 + 3;
    let read = 1 + 1 + 3 + 14 + 1 + 3;
    let expected =
        format!("{} {fields} {down} {up} {} {read} {fields}", request.len(), answer.len());
    assert_eq!(http1, expected);
    let http2: Vec<u64> = http2.trim_end_matches('|').split(' ').flat_map(str::parse).collect();
    let [received, headers, sent, .., decompressed] = http2[..] else { panic!("{http2:?}") };
    assert_eq!(received, headers, "a request without a body is one frame");
    assert!(headers > 9 && sent > 2 * 9 + 2, "{http2:?}");
    assert!(decompressed > headers, "{http2:?}");
}

#[test]
fn a_listener_logs_each_of_its_connections_and_a_request_that_takes_long_is_told_of_meanwhile() {
    let origin = Origin::answering(|stream, _| {
        std::thread::sleep(std::time::Duration::from_millis(700));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let folder = folder();
    let (connections, requests) = (folder.join("connections"), folder.join("requests"));
    let format = text("%ACCESS_LOG_TYPE% %PROTOCOL% %RESPONSE_FLAGS% %BYTES_RECEIVED%|");
    let logs = [log(&requests, "", &text("%ACCESS_LOG_TYPE% %RESPONSE_CODE%|"))];
    let more = "          access_log_options: {access_log_flush_interval: 0.3s}";
    let config = front_with(&[("a", &[origin.address])], &manager(&logs, more));
    let listener = format!("- name: main\n    access_log: [{}]", log(&connections, "", &format));
    let config = config.replace("- name: main", &listener);
    let flags = ["--concurrency", "1", "--file-flush-interval-msec", "20"];
    let proxy = Proxy::start_with(&config, &flags);
    let main = proxy.listener("main");
    get(main, "/a");
    let whole = |count: usize| {
        let read = || fs::read_to_string(&connections).unwrap_or_default();
        wait_for("the line", || Some(read()).filter(|text| text.matches('|').count() == count))
    };
    assert!(whole(1).starts_with("NotSet HTTP/1.1 - "));
    Client::connect(main).request("GARBAGE\r\n\r\n");
    assert!(whole(2).ends_with("|NotSet - DPE 11|"));
    let written = lines(proxy, &requests).join("");
    assert!(written.starts_with("DownstreamPeriodic 0|"), "{written}");
    assert!(written.ends_with("DownstreamEnd 200|DownstreamEnd 400|"), "{written}");
}
