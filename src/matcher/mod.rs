//! Owns matchers: what a configuration says of a text or a header, and whether it is so.

mod answer;
mod cookie;
mod header;
mod query;
mod text;

pub use answer::AnswerMatcher;
pub use cookie::{CookieMatcher, cookie};
pub use header::{HeaderMatcher, HeaderTest};
pub use query::{QueryMatcher, QueryTest, query_parameter};
pub use text::{TextMatcher, TextTest};
