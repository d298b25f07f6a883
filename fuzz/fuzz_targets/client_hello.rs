//! Whatever a connection begins with: no panic, no hello longer than what came, and a hello is that hello however it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::transport::{Look, Takes, Told};

fuzz_target!(|bytes: &[u8]| {
    let takes = Takes { ja3: true, ja4: true };
    let whole = Told::look(bytes, takes);
    let Look::Seen(Told::Tls(hello)) = &whole else { return };
    assert!(hello.bytes <= bytes.len());
    assert_eq!(Told::look(&bytes[..hello.bytes], takes), whole);
    let step = hello.bytes / 64 + 1;
    for cut in (0..hello.bytes).step_by(step) {
        assert_eq!(Told::look(&bytes[..cut], takes), Look::More, "{cut}");
    }
});
