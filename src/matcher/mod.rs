//! Owns matchers: what a configuration says of a text or a header, and whether it is so.

mod header;
mod text;

pub use header::{HeaderMatcher, HeaderTest};
pub use text::{TextMatcher, TextTest};
