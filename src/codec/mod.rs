//! Owns turning bytes into heads and bodies, and back. Knows nothing of routes, filters or clusters.

mod block;
pub mod head;
pub mod http1;
pub mod http2;
mod joined;
mod kept_names;
pub mod known;
pub mod method;
mod scan;
mod switch;

pub use block::HeaderBlock;
pub use head::{RequestHead, ResponseHead, Scheme, Version};
pub use kept_names::{Keeping, KeptNames};
pub use known::{Known, KnownSet};
pub use method::Method;
pub use switch::{Switch, says_upgrade};
