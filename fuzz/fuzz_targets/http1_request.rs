//! Whatever a client sends: no panic, never more consumed than there is, and the same head from the same
//! bytes however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::codec::{
    RequestHead,
    http1::{
        Limits,
        request::{Accepts, parse},
    },
};

const LIMITS: Limits = Limits { head_bytes_max: 4096, headers_max: 32 };

const ALL: Accepts = Accepts { http_10: true, absolute_form: true };

fuzz_target!(|bytes: &[u8]| {
    let mut head = RequestHead::default();
    let whole = parse(bytes, &LIMITS, ALL, &mut head);
    if let Ok(Some(parsed)) = &whole {
        assert!(parsed.consumed <= bytes.len());
        let mut again = RequestHead::default();
        let cut = parse(&bytes[..parsed.consumed], &LIMITS, ALL, &mut again);
        assert_eq!(cut.as_ref().ok(), whole.as_ref().ok());
        assert_eq!((again.path(), again.authority()), (head.path(), head.authority()));
    }
    for end in 0..bytes.len().min(64) {
        let _ = parse(&bytes[..end], &LIMITS, ALL, &mut head);
    }
});
