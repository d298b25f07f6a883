//! Whatever frames a body: no panic, no step beyond the input, the same payload, trailers and end however it
//! is cut, and those that the grammar says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::codec::http1::{
    Framing, Limits,
    body::{Decoder, Step},
};

const LIMITS: Limits = Limits::new(4096, 32);

/// What was read.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    payload: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The body is complete; so many bytes are not its own.
    Complete(usize),
    /// It is not.
    Open,
    /// It breaks its framing.
    Broken,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, input)) = bytes.split_first() else { return };
    let framing = match kind % 4 {
        0 => Framing::Length(u64::from(*kind)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = decode(framing, [input].into_iter());
    for size in [1, 2, 3, 7, 1 + usize::from(*kind)] {
        // No input is a piece too: a body of no length ends with it.
        let pieces = decode(framing, input.chunks(size).chain([&[][..]]));
        // What is beyond the body may not be here yet when it ends.
        match (whole.end, pieces.end) {
            (End::Complete(_), End::Complete(_)) => {
                assert_eq!((&whole.payload, &whole.trailers), (&pieces.payload, &pieces.trailers))
            }
            _ => assert_eq!(whole, pieces, "{size} bytes at a time"),
        }
    }
    if framing == Framing::Chunked {
        if let End::Complete(rest) = whole.end {
            let text = &input[..input.len() - rest];
            assert_eq!(by_the_grammar(text), Some(whole.payload));
        }
    }
});

fn decode<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::new(framing);
    let (mut held, mut payload) = (Vec::new(), Vec::new());
    let mut end = End::Open;
    'pieces: for piece in pieces {
        if matches!(end, End::Complete(_)) {
            break;
        }
        held.extend_from_slice(piece);
        loop {
            match decoder.step(&held, &LIMITS) {
                Ok(Step::Data(count)) => {
                    assert!(count > 0 && count <= held.len());
                    payload.extend(held.drain(..count));
                }
                Ok(Step::Skip(count)) => {
                    assert!(count > 0 && count <= held.len());
                    held.drain(..count);
                }
                Ok(Step::More) => break,
                Ok(Step::End) => {
                    end = End::Complete(held.len());
                    break;
                }
                Err(_) => {
                    end = End::Broken;
                    break 'pieces;
                }
            }
        }
    }
    let complete = matches!(end, End::Complete(_));
    let trailers = decoder.trailers().filter(|_| complete).into_iter();
    let trailers = trailers.flat_map(|block| block.iter());
    let trailers = trailers.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Seen { payload, trailers, end }
}

/// RFC 9112, 7.1, as plainly as it can be said: the payload of a complete chunked body.
fn by_the_grammar(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    loop {
        let line_end = text.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, rest) = (&text[..line_end], &text[line_end + 2..]);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&line[..digits]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let extension = line[digits..].trim_ascii_start();
        if !matches!(extension, [] | [b';', ..]) || extension.contains(&b'\n') {
            return None;
        }
        if size == 0 {
            return rest.ends_with(b"\n").then_some(payload);
        }
        payload.extend_from_slice(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
