//! What is taken and what is refused, against what Envoy 1.40.0 made of the same bytes of an upstream.
//! Where the two differ on purpose the line says `Envoy:`.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits::new(60 * 1024, 100);

fn read(text: &str, asked: Asked) -> Result<Option<Parsed>, ResponseError> {
    parse(text.as_bytes(), &LIMITS, asked, &mut ResponseHead::default())
}

#[test]
fn status_lines_are_told_apart() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Some((200, true))),
        ("HTTP/1.1 200", Some((200, true))),
        ("HTTP/1.1 200 ", Some((200, true))),
        ("HTTP/1.1  200 OK", Some((200, true))),
        ("HTTP/1.1\t200\tOK ", Some((200, true))),
        ("HTTP/1.1 200 \u{ff}", Some((200, true))),
        ("HTTP/1.1 600 x", Some((600, true))),
        ("HTTP/1.1 999 x", Some((999, true))),
        ("HTTP/1.0 200 OK", Some((200, false))),
        ("HTTP/1.2 200 OK", Some((200, false))),
        ("HTTP/2.0 200 OK", Some((200, false))),
        ("HTTP/1.1 99 x", None),
        ("HTTP/1.1 20 x", None),
        ("HTTP/1.1 000 x", None),
        ("HTTP/1.1 200x", None),
        ("HTTP/1.1 abc x", None),
        ("HTTP/1.1 -200 x", None),
        ("HTTP/1 200 OK", None),
        ("HTTP/1.10 200 OK", None),
        ("http/1.1 200 OK", None),
        ("ICY 200 OK", None),
        (" HTTP/1.1 200 OK", None),
        ("\r\nHTTP/1.1 200 OK", None),
        ("HTTP/1.1 200 a\u{1}b", None),
        ("HTTP/1.1 200 a\0b", None),
        // Envoy: passes these on.
        ("HTTP/1.1 1000 x", None),
        ("HTTP/1.1 +200 x", None),
        ("HTTP/1.1 200 a\rb", None),
    ] {
        for end in ["\r\n", "\n"] {
            let text = format!("{line}{end}content-length: 2\r\n\r\nok");
            let mut head = ResponseHead::default();
            let seen = parse(text.as_bytes(), &LIMITS, Asked::Plain, &mut head).ok().flatten();
            let seen = seen.map(|parsed| (head.status, parsed.keep_alive));
            assert_eq!(seen, expected, "{line:?}");
        }
    }
}

#[test]
fn the_head_says_how_the_body_ends() {
    use Framing::{Chunked, Length, None as Without, UntilClose};
    const CHUNKED: &str = "transfer-encoding: chunked\r\n";
    const GZIP: &str = "transfer-encoding: gzip\r\n";
    const TWO: &str = "content-length: 2\r\n";
    const BOTH: &str = "transfer-encoding: chunked\r\ncontent-length: 2\r\n";
    const BAD: &str = "content-length: x\r\n";
    for (status, headers, to_get, to_head) in [
        (200, "", Some(UntilClose), Some(Without)),
        (200, TWO, Some(Length(2)), Some(Without)),
        (200, CHUNKED, Some(Chunked), Some(Without)),
        (200, BOTH, None, None),
        (200, GZIP, None, None),
        (200, BAD, None, None),
        (200, "content-length: 2\r\ncontent-length: 2\r\n", None, None),
        (205, TWO, Some(Length(2)), Some(Without)),
        (204, "", Some(Without), Some(Without)),
        (204, "content-length: 0\r\n", Some(Without), Some(Without)),
        (204, TWO, None, None),
        (204, CHUNKED, None, None),
        (304, "", Some(Without), Some(Without)),
        (304, TWO, Some(Without), Some(Without)),
        (304, CHUNKED, Some(Without), Some(Without)),
        (304, BAD, Some(Without), Some(Without)),
        (304, GZIP, None, None),
        (304, BOTH, None, None),
        (100, "", Some(Without), Some(Without)),
        (100, "content-length: 0\r\n", Some(Without), Some(Without)),
        (100, TWO, None, None),
        (103, CHUNKED, None, None),
        // Envoy: passes it on, though nobody asked.
        (101, "", None, None),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\n{headers}\r\n");
        let framing = |asked| read(&text, asked).ok().flatten().map(|parsed| parsed.framing);
        assert_eq!((framing(Asked::Plain), framing(Asked::Head)), (to_get, to_head), "{text:?}");
    }
}

#[test]
fn what_was_asked_for_says_what_a_switch_is() {
    use Framing::{Length, None as Without, Tunnel, UntilClose};
    const UPGRADE: &str = "Upgrade: x\r\nConnection: keep-alive, Upgrade\r\n";
    const UPGRADE_TWO: &str = "upgrade: x\r\nconnection: upgrade\r\ncontent-length: 2\r\n";
    const TWO: &str = "content-length: 2\r\n";
    for (status, headers, to_upgrade, to_connect) in [
        (101, UPGRADE, Some(Tunnel), None),
        (101, "", Some(Without), None),
        (101, UPGRADE_TWO, None, None),
        (200, UPGRADE_TWO, Some(Length(2)), Some(Tunnel)),
        (200, "", Some(UntilClose), Some(Tunnel)),
        (299, TWO, Some(Length(2)), Some(Tunnel)),
        (426, UPGRADE_TWO, Some(Length(2)), Some(Length(2))),
        (100, "", Some(Without), Some(Without)),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\n{headers}\r\n");
        let read = |asked| read(&text, asked).ok().flatten();
        let framing = |asked| read(asked).map(|parsed| parsed.framing);
        assert_eq!(framing(Asked::Upgrade), to_upgrade, "{text:?}");
        assert_eq!(framing(Asked::Connect), to_connect, "{text:?}");
        let again = read(Asked::Upgrade).is_some_and(|parsed| parsed.keep_alive);
        assert!(!(again && status == 101), "{text:?}");
    }
}

#[test]
fn a_connection_is_used_again_if_the_upstream_lets_us() {
    for (text, again) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: Close\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nproxy-connection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.1 204 x\r\n\r\n", true),
        ("HTTP/1.0 304 x\r\n\r\n", false),
    ] {
        assert_eq!(read(text, Asked::Plain).unwrap().unwrap().keep_alive, again, "{text:?}");
    }
}

#[test]
fn heads_that_are_none_are_refused_at_once_and_others_waited_for() {
    let many = |count: usize| format!("HTTP/1.1 204 x\r\n{}\r\n", "x: 1\r\n".repeat(count));
    let sized = |bytes: usize| format!("HTTP/1.1 204 x\r\nx: {}\r\n\r\n", "v".repeat(bytes - 23));
    for (text, expected) in [
        ("", "more"),
        ("HTT", "more"),
        ("HTTP/1.1 20", "more"),
        ("HTTP/1.1 200 OK\r\nx: 1", "more"),
        ("garbage", "error"),
        ("HTTP/1.1 204 x\r\nx y: 1\r\n", "error"),
        ("HTTP/1.1 204 x\r\nx: \0\r\n\r\n", "error"),
        ("HTTP/1.1 204 x\r\nx: a\rb\r\n\r\n", "error"),
        ("HTTP/1.1 204 x\r\nx: a\r\n b\r\n\r\n", "ok"),
        (&many(100), "ok"),
        (&many(101), "error"),
        (&sized(LIMITS.head_bytes_max), "ok"),
        (&sized(LIMITS.head_bytes_max + 1), "error"),
    ] {
        let seen = match read(text, Asked::Plain) {
            Ok(Some(_)) => "ok",
            Ok(None) => "more",
            Err(_) => "error",
        };
        assert_eq!(seen, expected, "{:?}", &text[..text.len().min(60)]);
    }
}

#[test]
fn headers_are_kept_and_the_body_left_alone() {
    let text =
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\nX-Two: 1\r\nx-two: 2\r\n\r\nok";
    let mut head = ResponseHead::default();
    let parsed = parse(text, &LIMITS, Asked::Plain, &mut head).unwrap().unwrap();
    assert_eq!(parsed.consumed, text.len() - 2);
    assert_eq!(head.headers.get(Known::Server), Some(&b"x"[..]));
    assert_eq!(head.headers.len(), 4);
}

fn any_asked() -> impl Strategy<Value = Asked> {
    prop_oneof![Just(Asked::Plain), Just(Asked::Head), Just(Asked::Upgrade), Just(Asked::Connect),]
}

fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let line = "HTTP/1.[01] {1,2}(200|204|304|100|[0-9]{2,4})( [ -~]{0,5})?\r?\n";
    let field = prop_oneof![
        3 => "(Server|X-A|Date): [!-~]{0,12}\r\n".prop_map(String::into_bytes),
        1 => "(Content-Length|Connection): [0-9a-z,]{0,3}\r\n".prop_map(String::into_bytes),
        1 => "[a-z]{0,3}[ :]{0,2}[ -~]{0,5}\r?\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    (line, prop::collection::vec(field, 0..5), "(\r\n|\n|)")
        .prop_map(|(line, fields, end)| [line.into_bytes(), fields.concat(), end.into()].concat())
}

proptest! {
    #[test]
    fn how_much_comes_at_once_changes_nothing(text in head_like(), asked in any_asked()) {
        let mut head = ResponseHead::default();
        let whole = parse(&text, &LIMITS, asked, &mut head);
        let parts = (0..=text.len()).map(|cut| parse(&text[..cut], &LIMITS, asked, &mut head));
        let first = parts.into_iter().find(|part| *part != Ok(None)).unwrap_or(Ok(None));
        prop_assert_eq!(first, whole);
    }

    #[test]
    fn what_is_written_reads_the_same(text in head_like()) {
        use crate::codec::{Version, http1::write::{BodyHeader, NameCase, response}};
        let mut head = ResponseHead::default();
        if let Ok(Some(parsed)) = parse(&text, &LIMITS, Asked::Plain, &mut head) {
            let (mut wire, mut again) = (Vec::new(), ResponseHead::default());
            response(&mut wire, &head, Version::Http11, BodyHeader::AsIs, NameCase::Lower);
            let back = parse(&wire, &LIMITS, Asked::Plain, &mut again).unwrap().unwrap();
            prop_assert_eq!((back.framing, again.status), (parsed.framing, head.status));
            prop_assert!(again.headers.iter().eq(head.headers.iter()));
        }
    }

    #[test]
    fn noise_never_makes_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut head = ResponseHead::default();
        let _ = parse(&noise, &LIMITS, Asked::Plain, &mut head);
        let _ = parse(&[b"HTTP/1.1 200 OK\r\n", &noise[..]].concat(), &LIMITS, Asked::Plain, &mut head);
    }
}
