//! Whatever frames a body: no panic, no step beyond the input, and an end or an error after finitely many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::codec::http1::{
    Framing, Limits,
    body::{Decoder, Step},
};

const LIMITS: Limits = Limits { head_bytes_max: 4096, headers_max: 32 };

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, mut input)) = bytes.split_first() else { return };
    let mut decoder = Decoder::new(match kind % 3 {
        0 => Framing::Chunked,
        1 => Framing::Length(u64::from(*kind)),
        _ => Framing::UntilClose,
    });
    loop {
        match decoder.step(input, &LIMITS) {
            Ok(Step::Data(count) | Step::Skip(count)) => {
                assert!(count > 0 && count <= input.len());
                input = &input[count..];
            }
            Ok(Step::More | Step::End) | Err(_) => return,
        }
    }
});
