//! Owns the way from a request to its route: virtual host by domain, route by path, first match wins.

mod domains;
mod host;
mod matching;
mod paths;
mod redirect;
mod rewrite;
mod search;
mod table;
mod texts;
mod weights;

pub use host::form_host;
pub use matching::Miss;
pub use table::{Found, Lots, RouteTable};
