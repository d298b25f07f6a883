//! Owns what a head's headers say about its message: where the body ends, and whether another follows.

use crate::codec::{HeaderBlock, Known, KnownSet};

/// What `content-length` and `transfer-encoding` say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks,
    /// Both speak: a smuggler's tool (RFC 9112, 6.1).
    Both,
    /// Both speak, each once: some senders mean chunks.
    ChunksAndLength,
    /// A coding besides `chunked`, or more than one.
    UnknownCoding,
    /// Not one number, or not a number.
    BadLength,
}

const DELIMITERS: KnownSet = KnownSet::of(&[Known::ContentLength, Known::TransferEncoding]);

const PERSISTENCE: KnownSet = KnownSet::of(&[Known::Connection, Known::ProxyConnection]);

/// Reads what delimits the body.
#[inline]
pub(super) fn delimiter(headers: &HeaderBlock) -> Delimiter {
    if !headers.index.present.meets(DELIMITERS) {
        return Delimiter::Nothing;
    }
    let (length, coding) = (Known::ContentLength, Known::TransferEncoding);
    match (headers.get(coding), headers.get(length)) {
        (Some(text), Some(_)) => {
            let chunked = text.eq_ignore_ascii_case(b"chunked");
            let once = !headers.is_repeated(coding) && !headers.is_repeated(length);
            if chunked && once { Delimiter::ChunksAndLength } else { Delimiter::Both }
        }
        (Some(text), None) => match text.eq_ignore_ascii_case(b"chunked") {
            true if !headers.is_repeated(coding) => Delimiter::Chunks,
            _ => Delimiter::UnknownCoding,
        },
        (None, Some(text)) if !headers.is_repeated(length) => {
            parse_length(text).map_or(Delimiter::BadLength, Delimiter::Length)
        }
        (None, Some(_)) => Delimiter::BadLength,
        (None, None) => Delimiter::Nothing,
    }
}

/// Reads a `content-length`: digits only, however many stand for a number that fits.
fn parse_length(value: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if value.is_empty() { None } else { value.iter().try_fold(0, add) }
}

/// Whether the peer lets the connection carry another message. HTTP/1.1 does unless told otherwise,
/// older versions if told so (RFC 9112, 9.3); `close` wins over `keep-alive`.
#[inline]
pub(super) fn keep_alive(headers: &HeaderBlock, http_11: bool) -> bool {
    if !headers.index.present.meets(PERSISTENCE) {
        return http_11;
    }
    let alone = !headers.is_repeated(Known::Connection) && !headers.has(Known::ProxyConnection);
    // As nearly always, where anything is said. (A pattern would be compared byte by byte.)
    if alone && headers.get(Known::Connection).is_some_and(|option| option == b"keep-alive") {
        return true;
    }
    keeps_alive_by_options(headers, http_11)
}

fn keeps_alive_by_options(headers: &HeaderBlock, http_11: bool) -> bool {
    let among =
        |list: &[u8], option: &[u8]| tokens(list).any(|token| token.eq_ignore_ascii_case(option));
    let named = |known, option: &[u8]| headers.get_all(known).any(|list| among(list, option));
    // Observed: Envoy 1.40 takes `proxy-connection: close` for the same, and not its `keep-alive`.
    let close = named(Known::Connection, b"close") || named(Known::ProxyConnection, b"close");
    !close && (http_11 || named(Known::Connection, b"keep-alive"))
}

/// The elements of a comma-separated list (RFC 9110, 5.6.1).
fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(headers: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::default();
        for (name, value) in headers {
            block.append_name(name.as_bytes(), value.as_bytes());
        }
        block
    }

    #[test]
    fn a_length_is_one_number_of_digits() {
        for (value, length) in [
            ("0", Some(0)),
            ("02", Some(2)),
            ("000000000000000000000000000002", Some(2)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+2", None),
            ("-2", None),
            ("2,2", None),
            ("2 2", None),
            ("0x2", None),
        ] {
            let expected = length.map_or(Delimiter::BadLength, Delimiter::Length);
            assert_eq!(delimiter(&block(&[("content-length", value)])), expected, "{value:?}");
        }
        let twice = block(&[("content-length", "2"), ("content-length", "2")]);
        assert_eq!(delimiter(&twice), Delimiter::BadLength);
    }

    #[test]
    fn the_only_coding_is_chunked_and_only_once_and_alone() {
        for (value, expected) in [
            ("chunked", Delimiter::Chunks),
            ("Chunked", Delimiter::Chunks),
            ("chunked,", Delimiter::UnknownCoding),
            ("chunked, chunked", Delimiter::UnknownCoding),
            ("gzip, chunked", Delimiter::UnknownCoding),
            ("identity", Delimiter::UnknownCoding),
            ("", Delimiter::UnknownCoding),
            ("xchunked", Delimiter::UnknownCoding),
        ] {
            let headers = block(&[("transfer-encoding", value)]);
            assert_eq!(delimiter(&headers), expected, "{value:?}");
            let both = block(&[("transfer-encoding", value), ("content-length", "x")]);
            let beside = match expected {
                Delimiter::Chunks => Delimiter::ChunksAndLength,
                _ => Delimiter::Both,
            };
            assert_eq!(delimiter(&both), beside, "{value:?}");
        }
        let twice = block(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]);
        assert_eq!(delimiter(&twice), Delimiter::UnknownCoding);
    }

    #[test]
    fn a_connection_goes_on_as_its_version_and_its_options_say() {
        for (headers, in_11, in_10) in [
            (&[][..], true, false),
            (&[("connection", "close")], false, false),
            (&[("connection", "x, Close")], false, false),
            (&[("connection", "keep-alive")], true, true),
            (&[("connection", "keep-alive, close")], false, false),
            (&[("connection", "x"), ("connection", "close")], false, false),
            (&[("connection", "closed")], true, false),
            (&[("proxy-connection", "close")], false, false),
            (&[("proxy-connection", "keep-alive")], true, false),
        ] {
            let headers_block = block(headers);
            assert_eq!(keep_alive(&headers_block, true), in_11, "{headers:?}");
            assert_eq!(keep_alive(&headers_block, false), in_10, "{headers:?}");
        }
    }
}
