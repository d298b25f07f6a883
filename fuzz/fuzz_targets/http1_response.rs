//! Whatever a host sends: no panic, and never more consumed than there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::codec::{
    ResponseHead,
    http1::{Limits, response::{Asked, parse}},
};

const LIMITS: Limits = Limits { head_bytes_max: 4096, headers_max: 32 };

fuzz_target!(|bytes: &[u8]| {
    let mut head = ResponseHead::default();
    for asked in [Asked::Plain, Asked::Head, Asked::Upgrade, Asked::Connect] {
        if let Ok(Some(parsed)) = parse(bytes, &LIMITS, asked, &mut head) {
            assert!(parsed.consumed <= bytes.len());
            assert!(head.status >= 100);
        }
    }
});
