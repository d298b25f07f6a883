//! Owns the innermost loops: how far a run of allowed bytes reaches, sixteen bytes at a time.
//!
//! Heads are scanned once, so these loops are a large part of what a request costs. They are written over
//! arrays of a fixed size, from which the compiler makes vector instructions: no `unsafe`, and the same
//! result on every processor.

use wide::u8x16;

/// A token's byte (RFC 9110, 5.6.2) in lower case; 0 for a byte that no name may have.
pub(super) static NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let known = matches!(byte as u8,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
        if known {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Bytes that are looked at together. The loops over them are straight lines of vector instructions.
pub(super) const WIDTH: usize = 16;

/// Where the first byte stands that is 0xff among those that are 0, else [`WIDTH`].
#[inline]
fn first_set(flags: [u8; WIDTH]) -> usize {
    // The one instruction that the compiler does not find by itself: a bit of each byte.
    (u8x16::new(flags).to_bitmask() | 1 << WIDTH).trailing_zeros() as usize
}

/// What turns the first so many bytes into lower case, if they are letters.
static CASE_BITS: [[u8; WIDTH]; WIDTH + 1] = {
    let mut table = [[0; WIDTH]; WIDTH + 1];
    let mut length = 0;
    while length <= WIDTH {
        let mut at = 0;
        while at < length {
            table[length][at] = 0x20;
            at += 1;
        }
        length += 1;
    }
    table
};

/// Turns the letters at the front into lower case up to the first byte that is not a letter, a digit or
/// `-`; gives back where that stands. Nearly all names are made of these.
#[inline]
pub(super) fn lower_plain(bytes: &mut [u8; WIDTH]) -> usize {
    let (mut stops, mut letters) = ([0; WIDTH], [0; WIDTH]);
    for at in 0..WIDTH {
        let byte = bytes[at];
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let other = byte.wrapping_sub(b'0') < 10 || byte == b'-';
        stops[at] = if letter | other { 0 } else { 0xff };
        letters[at] = if letter { 0xff } else { 0 };
    }
    let run = first_set(stops);
    let case_bits = &CASE_BITS[run.min(WIDTH)];
    for at in 0..WIDTH {
        bytes[at] |= letters[at] & case_bits[at];
    }
    run
}

/// How many bytes at the front are text: anything but controls other than a tab (RFC 9110, 5.5).
#[inline]
pub(super) fn text_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    loop {
        run += controlless_run(bytes.get(run..).unwrap_or_default());
        match bytes.get(run) {
            Some(b'\t') => run += 1,
            _ => return run,
        }
    }
}

/// How many bytes at the front are neither controls nor DEL. Inlined always: a line is mostly one round of it,
/// and a call would have all constants of its caller's loop loaded again.
#[inline(always)]
pub(super) fn controlless_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<WIDTH>() {
        let mut stops = [0; WIDTH];
        for at in 0..WIDTH {
            stops[at] = if chunk[at] < 0x20 || chunk[at] == 0x7f { 0xff } else { 0 };
        }
        let here = first_set(stops);
        run += here;
        if here < WIDTH {
            return run;
        }
        rest = after;
    }
    run + rest.iter().take_while(|byte| **byte >= 0x20 && **byte != 0x7f).count()
}

/// How many bytes at the front are visible ASCII, `!` to `~`.
#[inline]
pub(super) fn visible_run(bytes: &[u8]) -> usize {
    let mut run = 0;
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<WIDTH>() {
        let mut stops = [0; WIDTH];
        for at in 0..WIDTH {
            stops[at] = if chunk[at].wrapping_sub(b'!') > b'~' - b'!' { 0xff } else { 0 };
        }
        let here = first_set(stops);
        run += here;
        if here < WIDTH {
            return run;
        }
        rest = after;
    }
    run + rest.iter().take_while(|byte| byte.is_ascii_graphic()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_end_where_a_plain_loop_ends_them(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = |b: &u8| matches!(b, b'\t' | 0x20..=0x7e | 0x80..);
            let visible = |b: &u8| matches!(b, 0x21..=0x7e);
            prop_assert_eq!(text_run(&bytes), bytes.iter().take_while(|b| text(b)).count());
            prop_assert_eq!(visible_run(&bytes), bytes.iter().take_while(|b| visible(b)).count());
        }

        #[test]
        fn long_runs_end_where_they_should(byte in any::<u8>(), at in 0usize..40) {
            let mut bytes = [b'a'; 41];
            bytes[at] = byte;
            let text = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
            let visible = byte.is_ascii_graphic();
            prop_assert_eq!(text_run(&bytes), if text { 41 } else { at });
            prop_assert_eq!(visible_run(&bytes), if visible { 41 } else { at });
        }
    }

    #[test]
    fn plain_names_are_lowered_up_to_their_end() {
        for byte in 0..=u8::MAX {
            let plain = byte.is_ascii_alphanumeric() || byte == b'-';
            for at in 0..WIDTH {
                let mut bytes = *b"Az09-QzZaaBBaaBB";
                bytes[at] = byte;
                let mut expected = bytes;
                let expected_run = if plain { WIDTH } else { at };
                expected[..expected_run].make_ascii_lowercase();
                let run = lower_plain(&mut bytes);
                assert_eq!((bytes, run), (expected, expected_run), "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn names_are_tokens_in_lower_case() {
        for (byte, lower) in [(b'A', b'a'), (b'z', b'z'), (b'-', b'-'), (b'_', b'_'), (b'~', b'~')]
        {
            assert_eq!(NAME[usize::from(byte)], lower);
        }
        for byte in b"\0\t \"(),/:;<=>?@[\\]{}\x7f\x80\xff" {
            assert_eq!(NAME[usize::from(*byte)], 0, "{byte:#x}");
        }
        assert_eq!(NAME.iter().filter(|byte| **byte != 0).count(), 15 + 10 + 52);
    }
}
