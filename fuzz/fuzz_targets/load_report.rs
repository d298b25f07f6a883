//! Whatever a host reports of its load: no panic, and no number that is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::{codec::HeaderBlock, upstream::load_report::report};

fuzz_target!(|bytes: &[u8]| {
    let Some((binary, value)) = bytes.split_first() else { return };
    let name = if binary & 1 > 0 { "endpoint-load-metrics-bin" } else { "endpoint-load-metrics" };
    let mut headers = HeaderBlock::default();
    headers.append_name(name.as_bytes(), value);
    if let Some(report) = report(&headers) {
        assert_eq!(report, report.clone(), "a number that is none is not equal to itself");
    }
});
