//! Any text is an expression of RE2 or is told what is wrong with it; and what is quoted matches itself, whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::re2::{Extent, Re2Error, compile};

fuzz_target!(|text: &str| {
    for extent in [Extent::Whole, Extent::Part] {
        if let Ok(built) = compile(text, extent) {
            let _ = built.is_match(text.as_bytes());
        }
    }
    // What is left when an end was taken out may be another end.
    let literal = text.replace("\\E", "");
    if literal.contains("\\E") {
        return;
    }
    match compile(&format!("\\Q{literal}"), Extent::Whole) {
        Ok(quoted) => assert!(quoted.is_match(literal.as_bytes())),
        Err(why) => assert_eq!(why, Re2Error::TooLarge),
    }
});
