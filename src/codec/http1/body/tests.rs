use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits::new(1024, 10);

/// Feeds the input in pieces and collects the payload; `None` if it is not complete.
fn decode(
    framing: Framing,
    pieces: &[&[u8]],
) -> Result<Option<(Vec<u8>, Decoder, usize)>, FramingError> {
    let (mut decoder, mut held, mut out) = (Decoder::new(framing), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match decoder.step(&held, &LIMITS)? {
                Step::Data(count) => out.extend(held.drain(..count)),
                Step::Skip(count) => drop(held.drain(..count)),
                Step::More => break,
                Step::End => return Ok(Some((out, decoder, held.len()))),
            }
        }
    }
    Ok(None)
}

#[test]
fn chunks_are_read_with_their_extensions_dropped() {
    for (text, body, trailer) in [
        ("3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-End: done\r\n\r\n", "abc0123456789", "done"),
        ("0000000000000000000002\r\nhi\r\n0\r\n\r\n", "hi", ""),
        ("2 ;a=b\r\nhi\r\n000\r\n\r\n", "hi", ""),
        ("2\t\r\nhi\r\n0;x\r\n\r\n", "hi", ""),
        ("2;a=\"x;y\"\r\nhi\r\n0\r\nx-end: a\r\n b\r\n\r\n", "hi", "a b"),
        ("0\r\n\r\n", "", ""),
    ] {
        let (seen, decoder, rest) = decode(Framing::Chunked, &[text.as_bytes()]).unwrap().unwrap();
        assert_eq!((seen.as_slice(), rest), (body.as_bytes(), 0), "{text:?}");
        let seen = decoder.trailers().and_then(|t| t.get_name(b"x-end")).unwrap_or_default();
        assert_eq!(seen, trailer.as_bytes(), "{text:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for bad in [
        "zz\r\n",
        "3\r\nabcd",
        "3\nabc\r\n",
        "3\r\nabc\n",
        "3\r\nabc0\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "3 x\r\nabc",
        "3,\r\n",
        "3\r\r\n",
        "3;a\rb\r\n",
        "3;a\nb",
        "3;a\0\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffffff\r\n",
        "\r\n",
        "0\r\nbad\r\n\r\n",
        "0\r\nt : v\r\n\r\n",
    ] {
        let seen = decode(Framing::Chunked, &[bad.as_bytes()]).err();
        assert_eq!(seen, Some(FramingError::Malformed), "{bad:?}");
    }
}

#[test]
fn lines_around_chunks_are_bounded_one_by_one_and_together() {
    let endless = [&b"3;"[..], &[b'x'; SIZE_LINE_BYTES_MAX]].concat();
    assert_eq!(decode(Framing::Chunked, &[&endless]).err(), Some(FramingError::Malformed));
    let zeros = vec![b'0'; SIZE_LINE_BYTES_MAX];
    assert_eq!(decode(Framing::Chunked, &[&zeros]).err(), Some(FramingError::Malformed));
    let thrifty = ["1\r\na\r\n".repeat(60_000).as_bytes(), b"0\r\n\r\n"].concat();
    assert_eq!(decode(Framing::Chunked, &[&thrifty]).unwrap().unwrap().0.len(), 60_000);
    let wasteful = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
    assert_eq!(
        decode(Framing::Chunked, &[wasteful.as_bytes()]).err(),
        Some(FramingError::Malformed)
    );
}

#[test]
fn trailers_are_refused_for_what_is_wrong_with_them() {
    let long = format!("0\r\nt: {}\r\n\r\n", "x".repeat(LIMITS.head_bytes_max));
    let many = format!("0\r\n{}\r\n", "t: v\r\n".repeat(LIMITS.headers_max + 1));
    for (text, error, status) in [
        ("0\r\nt: \0\r\n\r\n", FramingError::InvalidCharacters, 400),
        ("0\r\nt\r\n\r\n", FramingError::Malformed, 400),
        (&long, FramingError::TooLarge, 431),
        (&many, FramingError::TooMany, 431),
    ] {
        let seen = decode(Framing::Chunked, &[text.as_bytes()]).err();
        assert_eq!((seen, error.refusal().status), (Some(error), status));
    }
}

#[test]
fn a_length_is_counted_and_an_open_end_is_not() {
    let (body, _, rest) = decode(Framing::Length(3), &[b"ab", b"cd"]).unwrap().unwrap();
    assert_eq!((body.as_slice(), rest), (&b"abc"[..], 1));
    let mut until_close = Decoder::new(Framing::UntilClose);
    assert_eq!(until_close.step(b"abc", &LIMITS), Ok(Step::Data(3)));
    assert!(until_close.until_close() && !until_close.is_done());
    assert!(Decoder::new(Framing::None).is_done());
}

#[test]
fn pieces_that_travel_together_are_one_chunk() {
    let (mut out, mut encoder) = (b"head".to_vec(), Encoder::new(true));
    encoder.data(&mut out, b"hello");
    encoder.data(&mut out, b"");
    encoder.data(&mut out, b" world, this is");
    encoder.seal(&mut out);
    encoder.data(&mut out, b"x");
    encoder.end(&mut out, None);
    let expected = "head14\r\nhello world, this is\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut plain = Vec::new();
    let mut encoder = Encoder::new(false);
    encoder.data(&mut plain, b"as it is");
    encoder.end(&mut plain, None);
    assert_eq!(plain, b"as it is");
}

proptest! {
    #[test]
    fn what_is_written_in_chunks_is_read_again_however_it_is_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..6),
        cut in 1usize..50,
        seals in any::<u8>(),
    ) {
        let (mut wire, mut encoder) = (b"head".to_vec(), Encoder::new(true));
        for (at, chunk) in chunks.iter().enumerate() {
            encoder.data(&mut wire, chunk);
            if seals >> at & 1 == 1 {
                encoder.seal(&mut wire);
            }
        }
        encoder.end(&mut wire, None);
        let wire = wire.split_off(4);
        let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
        let (body, _, rest) = decode(Framing::Chunked, &pieces).unwrap().unwrap();
        prop_assert_eq!((body, rest), (chunks.concat(), 0));
    }

    #[test]
    fn noise_never_makes_it_panic_and_ends_the_same_however_it_is_cut(
        start in prop_oneof![Just(""), Just("2\r\nhi\r\n"), Just("0\r\n"), Just("5;a=b\r\n")],
        noise in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            "[0-9a-f;: \r\n]{0,60}".prop_map(String::into_bytes),
        ],
        cut in 1usize..20,
    ) {
        let wire = [start.as_bytes(), &noise].concat();
        let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
        let whole = decode(Framing::Chunked, &[&wire]).map(|end| end.map(|(body, ..)| body));
        let in_pieces = decode(Framing::Chunked, &pieces).map(|end| end.map(|(body, ..)| body));
        prop_assert_eq!(whole.is_err(), in_pieces.is_err());
        if let (Ok(whole), Ok(in_pieces)) = (whole, in_pieces) {
            prop_assert_eq!(whole, in_pieces);
        }
    }
}
