//! Any text is a configuration or is told what is wrong with it: reading, upgrade, check, compilation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::config::{
    Source,
    compile::{AllSlots, Options, load},
    upgrade::upgrade_text,
};

fuzz_target!(|text: &str| {
    let source = Source::yaml("fuzz.yaml", text);
    if let Err(errors) = load(&source, &Options::default(), &AllSlots::default()) {
        assert!(errors.has_errors());
        let _ = errors.render(&source);
    }
    let _ = upgrade_text(&source);
});
