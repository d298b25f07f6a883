//! Owns matchers: what a configuration says of a text or a header, and whether it is so; and trees of them.

mod answer;
mod cookie;
mod header;
mod query;
mod state;
mod text;
pub mod tree;

pub use answer::AnswerMatcher;
pub use cookie::{CookieMatcher, cookie};
pub use header::{HeaderMatcher, HeaderName, HeaderTest};
pub use query::{QueryMatcher, QueryTest, query_parameter};
pub use state::StateMatcher;
pub use text::{TextMatcher, TextTest};
