//! Any text is a format or is refused; what is printed of a format is the same format, and filling it in
//! with nothing known does not fail.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::format::{Format, JsonFormat, StreamInfo};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut out = Vec::new();
    if let Ok(format) = Format::parse(text) {
        assert_eq!(Format::parse(&format.to_string()).as_ref(), Ok(&format));
        format.write(&mut out, &StreamInfo::default());
    }
    if let Ok(json) = serde_json::from_str(text)
        && let Ok(format) = JsonFormat::parse(&json)
    {
        out.clear();
        format.write(&mut out, &StreamInfo::default(), false);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    }
});
