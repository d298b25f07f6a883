//! Whatever a connection begins with: no panic, no header longer than what came, and a header is that header however it
//! comes. What is none may be refused in other words when it comes in parts. Observed: Envoy 1.40, a line that is too
//! long.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::{
    listener::proxy_protocol::header::{Read, Wanted, look},
    transport::Look,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let wanted = Wanted { v1: flags & 1 > 0, v2: flags & 2 > 0, optional: flags & 4 > 0 };
    let whole = look(bytes, wanted);
    if let Look::Seen(Read::Header(header)) = &whole {
        assert!(header.length <= bytes.len());
        assert_eq!(look(&bytes[..header.length], wanted), whole);
    }
    let step = bytes.len() / 64 + 1;
    for cut in (0..bytes.len()).step_by(step) {
        let part = look(&bytes[..cut], wanted);
        let is_header = |seen: &Look<Read>| matches!(seen, Look::Seen(Read::Header(_)));
        let refused = part != Look::More && !is_header(&part) && !is_header(&whole);
        assert!(
            part == Look::More || part == whole || refused,
            "{cut}: {part:?}, then {whole:?}"
        );
    }
});
