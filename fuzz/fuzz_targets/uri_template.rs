//! Any text is a URI template or is told what is wrong with it; what is written of a path that one matches is a
//! path again.
//!
//! The input is three lines: a template, a rewrite, a path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::uri_template::{PathRewrite, PathTemplate};

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (template, rewrite, path) = (line(), line(), line());
    let Ok(template) = PathTemplate::new(template) else { return };
    let matches = template.is_match(path.as_bytes());
    assert!(!matches || path.starts_with('/'));
    let Ok(rewrite) = PathRewrite::new(rewrite, &template) else { return };
    let written = rewrite.apply(&template, path.as_bytes());
    assert_eq!(written.is_some(), matches);
    if let Some(written) = written {
        assert_eq!(written.first(), Some(&b'/'));
        assert!(written.iter().all(u8::is_ascii_graphic));
    }
});
