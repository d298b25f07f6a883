//! What is taken and what is refused, against what Envoy 1.40.0 answered to the same bytes. Where the
//! two differ on purpose the line says `Envoy:`.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits::new(60 * 1024, 100);

const ALL: Accepts = Accepts { http_10: true, absolute_form: true };
const NEWER: Accepts = Accepts { http_10: false, ..ALL };

fn parsed(
    text: &[u8],
    accept_http_10: bool,
) -> Result<Option<(RequestHead, Parsed)>, RequestError> {
    let mut head = RequestHead::default();
    let accepts = Accepts { http_10: accept_http_10, ..ALL };
    let parsed = parse(text, &LIMITS, accepts, &mut head);
    parsed.map(|parsed| parsed.map(|parsed| (head, parsed)))
}

/// `ok`, `more`, or the details of the refusal.
fn outcome(text: &str) -> &'static str {
    match parsed(text.as_bytes(), false) {
        Ok(Some(_)) => "ok",
        Ok(None) => "more",
        Err(error) => error.details,
    }
}

fn hold(table: &[(&str, &str)], around: impl Fn(&str) -> String) {
    for (text, expected) in table {
        let whole = around(text);
        assert_eq!(outcome(&whole), *expected, "{:?}", &whole[..whole.len().min(99)]);
    }
}

#[test]
fn first_lines_are_told_apart() {
    let table = [
        ("GET / HTTP/1.1", "ok"),
        ("GET  / HTTP/1.1", "ok"),
        ("GET /  HTTP/1.1", "ok"),
        ("GET\t/\tHTTP/1.1", "ok"),
        ("GET / HTTP/1.1 ", "ok"),
        ("GET / HTTP/1.1\t", "ok"),
        // Envoy: takes it, a bare CR being nothing to it.
        ("GET / HTTP/1.1\r", "http1.codec_error"),
        ("GET /a\rb HTTP/1.1", "http1.codec_error"),
        (" GET / HTTP/1.1", "http1.codec_error"),
        ("GET /a b HTTP/1.1", "http1.codec_error"),
        ("GET /a\tb HTTP/1.1", "http1.codec_error"),
        ("GET /a\0b HTTP/1.1", "http1.invalid_characters"),
        ("GET /a\u{1}b HTTP/1.1", "http1.invalid_characters"),
        ("GET /a\u{7f}b HTTP/1.1", "http1.invalid_characters"),
        ("G\0T / HTTP/1.1", "http1.invalid_characters"),
        ("GET /\u{e9} HTTP/1.1", "http1.codec_error"),
        ("GET /\"<>\\^`{|}#?%;[]@!$&'()*+,=:~ HTTP/1.1", "ok"),
        ("GET //x HTTP/1.1", "ok"),
        ("GET ?a HTTP/1.1", "http1.codec_error"),
        ("GET abc HTTP/1.1", "http1.codec_error"),
        ("GET * HTTP/1.1", "http1.invalid_url"),
        ("OPTIONS * HTTP/1.1", "ok"),
        ("OPTIONS *x HTTP/1.1", "ok"),
        ("get / HTTP/1.1", "http1.codec_error"),
        ("FOO / HTTP/1.1", "http1.codec_error"),
        ("M-SEARCH / HTTP/1.1", "http1.codec_error"),
        ("PRI * HTTP/2.0", "http1.codec_error"),
        ("QUERY / HTTP/1.1", "ok"),
        ("GET / HTTP/1.0", "low_version"),
        ("GET / HTTP/1.2", "low_version"),
        ("GET / HTTP/2.0", "low_version"),
        ("GET / HTTP/3.7", "low_version"),
        ("GET / HTTP/0.9", "low_version"),
        ("GET /", "low_version"),
        ("GET / HTTP/1.10", "http1.codec_error"),
        ("GET / HTTP/11.1", "http1.codec_error"),
        ("GET / HTTP/1", "http1.codec_error"),
        ("GET / HTTP/1.", "http1.codec_error"),
        ("GET / http/1.1", "http1.codec_error"),
        ("GET / ICE/1.0", "http1.codec_error"),
        ("GET / HTTP/1.a", "http1.codec_error"),
        ("GET / HTTP/01.1", "http1.codec_error"),
    ];
    hold(&table, |line| format!("{line}\r\nhost: a\r\n\r\n"));
    hold(&table[..2], |line| format!("{line}\nhost: a\n\n"));
}

#[test]
fn every_method_that_envoy_knows_is_taken() {
    let known = "GET HEAD POST PUT DELETE OPTIONS TRACE PATCH COPY LOCK MKCOL MOVE PROPFIND PROPPATCH \
        SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE NOTIFY SUBSCRIBE \
        UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE QUERY";
    for method in known.split(' ') {
        assert_eq!(outcome(&format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n")), "ok", "{method}");
    }
}

#[test]
fn targets_with_an_authority_say_it_or_are_refused() {
    for (target, authority, path) in [
        ("http://b", "b", "/"),
        ("http://b/", "b", "/"),
        ("http://b/x?y", "b", "/x?y"),
        ("http://b?x", "b", "?x"),
        ("http://b?x=/y", "b", "?x=/y"),
        ("HTTP://B/x", "B", "/x"),
        ("https://b:80/x", "b:80", "/x"),
        ("http://b/x#f", "b", "/x#f"),
        ("http://[::1]:80/x", "[::1]:80", "/x"),
        ("http://b..c:65535/", "b..c:65535", "/"),
        ("http://-b.:0/", "-b.:0", "/"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nhost: other\r\n\r\n");
        let (head, _) = parsed(text.as_bytes(), false).unwrap().unwrap();
        let seen = (head.authority(), head.path());
        assert_eq!(seen, (authority.as_bytes(), path.as_bytes()), "{target}");
    }
    let refused = [
        ("http://b#x", "http1.codec_error"),
        ("http:/b", "http1.codec_error"),
        ("http:b", "http1.codec_error"),
        ("://b", "http1.codec_error"),
        ("http://b\\c/x", "http1.codec_error"),
        ("ftp://b/x", "http1.invalid_scheme"),
        ("ws://b/x", "http1.invalid_scheme"),
        ("http:///x", "http1.invalid_url"),
        ("http://", "http1.invalid_url"),
        ("http://[::1/x", "http1.invalid_url"),
        ("http://[1:2]/x", "http1.invalid_url"),
        ("http://b:/x", "http1.invalid_url"),
        ("http://b:65536/x", "http1.invalid_url"),
        ("http://b:abc/x", "http1.invalid_url"),
        ("http://b:80:80/x", "http1.invalid_url"),
        ("http://b_c/x", "http1.invalid_url"),
        ("http://b%20c/x", "http1.invalid_url"),
        ("http://b'c/x", "http1.invalid_url"),
        // Envoy: drops the userinfo.
        ("http://u:p@b/x", "http1.invalid_url"),
    ];
    hold(&refused, |target| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
}

#[test]
fn a_tunnel_is_to_a_host_and_a_port_and_has_no_body() {
    let table = [
        ("b:443", "ok"),
        ("[::1]:443", "ok"),
        ("B:0", "ok"),
        ("b", "http1.invalid_url"),
        ("b:", "http1.invalid_url"),
        ("b:x", "http1.invalid_url"),
        ("b:99999", "http1.invalid_url"),
        ("/x", "http1.invalid_url"),
        ("*", "http1.invalid_url"),
        ("http://b/x", "http1.invalid_url"),
        ("u@b:443", "http1.invalid_url"),
        ("b:443/x", "http1.invalid_url"),
        ("b_c:443", "http1.invalid_url"),
    ];
    hold(&table, |target| format!("CONNECT {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
    let bodies = [
        ("content-length: 2", "http1.body_disallowed"),
        ("content-length: 0", "ok"),
        ("transfer-encoding: chunked", "http1.invalid_transfer_encoding"),
    ];
    hold(&bodies, |header| format!("CONNECT b:1 HTTP/1.1\r\nhost: a\r\n{header}\r\n\r\n"));
}

#[test]
fn a_host_is_one_host() {
    let table = [
        ("a", "ok"),
        ("", "ok"),
        ("A.B:80", "ok"),
        ("a:", "ok"),
        ("[::1]:80", "ok"),
        ("a_b", "ok"),
        ("a,b", "ok"),
        ("a%20b!$&'()*+;=~", "ok"),
        ("*", "ok"),
        ("a b", "http.invalid_authority"),
        ("a/b", "http.invalid_authority"),
        ("a?b", "http.invalid_authority"),
        ("a#b", "http.invalid_authority"),
        ("a\\b", "http.invalid_authority"),
        ("a\"b", "http.invalid_authority"),
        ("a<b", "http.invalid_authority"),
        ("a^b", "http.invalid_authority"),
        ("a\tb", "http.invalid_authority"),
        ("a\u{e9}", "http.invalid_authority"),
        ("http://a", "http.invalid_authority"),
        ("a\r\n b", "http.invalid_authority"),
        ("a\u{7f}b", "http1.invalid_characters"),
        // Envoy: takes these, which it reads as one name.
        ("u:p@b", "http.invalid_authority"),
        ("a@b", "http.invalid_authority"),
        ("a:x", "http.invalid_authority"),
        ("a:80:80", "http.invalid_authority"),
        ("::1", "http.invalid_authority"),
        ("[::1", "http.invalid_authority"),
        ("[::1]x", "http.invalid_authority"),
        // Envoy: makes `a,a` of it.
        ("a\r\nhost: a", "http1.codec_error"),
    ];
    hold(&table, |host| format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    let (head, _) = parsed(b"GET / HTTP/1.1\r\n\r\n", false).unwrap().unwrap();
    assert!(!head.has_authority());
    let (head, _) = parsed(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", false).unwrap().unwrap();
    assert!(head.has_authority() && head.authority().is_empty());
}

#[test]
fn header_lines_are_told_apart() {
    let table = [
        ("x!#$%&'*+-.^_`|~1: v", "ok"),
        ("x: \u{e9}\t ", "ok"),
        ("x::v", "ok"),
        ("x:", "ok"),
        ("x: a\r\n b", "ok"),
        ("x y: v", "http1.codec_error"),
        ("x : v", "http1.codec_error"),
        (": v", "http1.codec_error"),
        (":path: v", "http1.codec_error"),
        ("x", "http1.codec_error"),
        ("x(: v", "http1.codec_error"),
        ("x\u{e9}: v", "http1.codec_error"),
        ("x\0: v", "http1.invalid_characters"),
        ("x: \0", "http1.invalid_characters"),
        ("x: a\u{b}", "http1.invalid_characters"),
        ("x: \u{7f}", "http1.invalid_characters"),
        ("bad\r\nx: \0", "http1.invalid_characters"),
        // Envoy: takes the CR out.
        ("x: a\rb", "http1.codec_error"),
        ("x: a\r", "http1.codec_error"),
    ];
    hold(&table, |line| format!("GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n"));
    assert_eq!(outcome("GET / HTTP/1.1\r\n x: a\r\nhost: a\r\n\r\n"), "http1.codec_error");
}

#[test]
fn bodies_are_delimited_in_one_way() {
    for (header, expected) in [
        ("", Ok(Framing::None)),
        ("content-length: 2\r\n", Ok(Framing::Length(2))),
        ("content-length: 02 \r\n", Ok(Framing::Length(2))),
        ("content-length:\r\n 2\r\n", Ok(Framing::Length(2))),
        ("content-length: 0\r\n", Ok(Framing::Length(0))),
        ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
        ("transfer-encoding:\r\n chunked\r\n", Ok(Framing::Chunked)),
        ("content-length: 2,2\r\n", Err((400, "http1.codec_error"))),
        ("content-length: \u{b}2\r\n", Err((400, "http1.invalid_characters"))),
        ("content-length: 2\r\ncontent-length: 2\r\n", Err((400, "http1.codec_error"))),
        ("transfer-encoding: gzip, chunked\r\n", Err((501, "http1.invalid_transfer_encoding"))),
        ("transfer-encoding: identity\r\n", Err((501, "http1.invalid_transfer_encoding"))),
        ("transfer-encoding : chunked\r\n", Err((400, "http1.codec_error"))),
        (
            "content-length: x\r\ntransfer-encoding: gzip\r\n",
            Err((400, "http1.content_length_and_chunked_not_allowed")),
        ),
    ] {
        let text = format!("POST / HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        let seen = parsed(text.as_bytes(), false);
        let seen = seen.map(|head| head.unwrap().1.framing).map_err(|e| (e.status, e.details));
        assert_eq!(seen, expected, "{header:?}");
    }
}

#[test]
fn old_versions_are_served_where_they_are_accepted() {
    for (text, keep_alive) in [
        ("GET /x HTTP/1.0\r\n\r\n", false),
        ("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET /x HTTP/1.0\r\nproxy-connection: keep-alive\r\n\r\n", false),
        ("GET http://b/x HTTP/2.5\r\n\r\n", false),
        ("GET /x HTTP/0.9\r\n\r\n", false),
    ] {
        let (head, parsed) = parsed(text.as_bytes(), true).unwrap().unwrap();
        assert_eq!((head.version, parsed.keep_alive), (Version::Http10, keep_alive), "{text:?}");
    }
    let details = |text: &str| parsed(text.as_bytes(), true).map(|_| ()).map_err(|e| e.details);
    // Envoy: takes both. The first is faulty framing (RFC 9112, 6.1), the second has no head.
    let chunked = "POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(details(chunked), Err("http1.codec_error"));
    assert_eq!(details("GET /x\r\n\r\n"), Err("low_version"));
}

#[test]
fn heads_are_as_large_as_allowed_and_no_larger() {
    let start = "GET / HTTP/1.1\r\nhost: a\r\nx: ";
    let sized = |bytes: usize| format!("{start}{}\r\n\r\n", "v".repeat(bytes - start.len() - 4));
    assert_eq!(outcome(&sized(LIMITS.head_bytes_max)), "ok");
    assert_eq!(outcome(&sized(LIMITS.head_bytes_max + 1)), "http1.headers_too_large");
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(61_440));
    assert_eq!(outcome(&target), "http1.headers_too_large");
    let endless = format!("{start}{}", "v".repeat(70_000));
    assert_eq!(outcome(&endless), "http1.headers_too_large");
    assert_eq!(outcome(&format!("GET /{}", "x".repeat(61_440))), "http1.headers_too_large");
    let many =
        |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(count));
    assert_eq!(outcome(&many(99)), "ok");
    assert_eq!(outcome(&many(100)), "http1.too_many_headers");
    let body = format!("POST / HTTP/1.1\r\ncontent-length: 99999\r\n\r\n{}", "b".repeat(99_999));
    assert_eq!(outcome(&body), "ok");
}

#[test]
fn what_is_no_request_is_known_before_its_line_ends() {
    let table = [
        ("", "more"),
        ("\r\n", "more"),
        ("GE", "more"),
        ("GET", "more"),
        ("GET /long", "more"),
        ("GET / HTTP/1.1\r\nhost: a\r\n", "more"),
        ("ge", "http1.codec_error"),
        ("G@", "http1.codec_error"),
        ("GETTTTTTTTTTTTTTTTTT", "http1.codec_error"),
        ("FOO ", "http1.codec_error"),
        ("SSH-2.0-OpenSSH_9.2", "http1.codec_error"),
        ("\u{16}\u{3}\u{1}\u{2}", "http1.invalid_characters"),
        ("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "ok"),
        // Envoy: skips any number.
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "http1.codec_error"),
    ];
    hold(&table, str::to_owned);
}

#[test]
fn names_are_in_lower_case_and_the_rest_of_the_input_is_left_alone() {
    let text = "POST http://B.test:8/x?q HTTP/1.1\r\nHost: a\r\nX-Mixed: Value \r\n\
                Content-Length: 5\r\nConnection: x, Close\r\nExpect: 100-Continue\r\n\r\nhello";
    let (head, parsed) = parsed(text.as_bytes(), false).unwrap().unwrap();
    assert_eq!((head.path(), head.authority()), (&b"/x?q"[..], &b"B.test:8"[..]));
    assert_eq!(head.headers.get_name(b"x-mixed"), Some(&b"Value"[..]));
    assert_eq!(head.headers.get(Known::Host), None);
    assert_eq!((parsed.framing, parsed.consumed), (Framing::Length(5), text.len() - 5));
    assert!(!parsed.keep_alive && parsed.expects_continue);
}

/// Heads that are nearly right.
fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let line = "(GET|POST|get|CONNECT|OPTIONS) {1,2}(/|/a|\\*|http://b:1/|b:1|[ -~]{0,9})( HTTP/[01].[01])?\r?\n";
    let field = prop_oneof![
        4 => "(Host|X-A|Te|Cookie): [!-~]{0,12}\r\n".prop_map(String::into_bytes),
        1 => "(Content-Length|Connection): [0-9a-z,]{0,3}\r\n".prop_map(String::into_bytes),
        1 => "transfer-encoding: (chunked|gzip)\r\n".prop_map(String::into_bytes),
        1 => "[a-z]{0,3}[ :]{0,2}[ -~]{0,5}\r?\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    (line, prop::collection::vec(field, 0..5), "(\r\n|\n|)")
        .prop_map(|(line, fields, end)| [line.into_bytes(), fields.concat(), end.into()].concat())
}

proptest! {
    #[test]
    fn how_much_comes_at_once_changes_nothing(text in head_like()) {
        let mut head = RequestHead::default();
        let whole = parse(&text, &LIMITS, ALL, &mut head);
        let mut first = Ok(None);
        for cut in 0..=text.len() {
            first = parse(&text[..cut], &LIMITS, ALL, &mut head);
            if first != Ok(None) {
                break;
            }
        }
        match (first, whole) {
            (Err(early), Err(late)) => prop_assert_eq!(early.status, late.status),
            (early, late) => prop_assert_eq!(early, late),
        }
    }

    #[test]
    fn what_is_written_reads_the_same(text in head_like()) {
        use crate::codec::http1::write::{BodyHeader, NameCase, request};
        let mut head = RequestHead::default();
        if let Ok(Some(parsed)) = parse(&text, &LIMITS, NEWER, &mut head) {
            // What a route would have refused is never written.
            prop_assume!(head.has_authority() && head.path().first() == Some(&b'/'));
            let (mut wire, mut again) = (Vec::new(), RequestHead::default());
            request(&mut wire, &head, BodyHeader::AsIs, NameCase::Lower, false);
            let back = parse(&wire, &LIMITS, NEWER, &mut again).unwrap().unwrap();
            prop_assert_eq!((back.framing, back.keep_alive), (parsed.framing, parsed.keep_alive));
            prop_assert_eq!((again.method, again.path()), (head.method, head.path()));
            prop_assert_eq!(again.authority(), head.authority());
            let same = again.headers.iter().eq(head.headers.iter());
            prop_assert!(same, "{:?} became {:?}", head.headers, again.headers);
            let mut proper = Vec::new();
            request(&mut proper, &head, BodyHeader::AsIs, NameCase::Proper, false);
            prop_assert_eq!(proper.to_ascii_lowercase(), wire.to_ascii_lowercase());
        }
    }

    #[test]
    fn noise_never_makes_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut head = RequestHead::default();
        let _ = parse(&noise, &LIMITS, ALL, &mut head);
        let _ = parse(&[b"GET / HTTP/1.1\r\n", &noise[..]].concat(), &LIMITS, ALL, &mut head);
    }
}
