//! Owns in which order the addresses of one host are tried.

use std::net::SocketAddr;

/// `UpstreamConnectionOptions.happy_eyeballs_config`: in which order the addresses of one host are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HappyEyeballs {
    /// `first_address_family_version`, IPv6 if true; that of the first address if none.
    pub first_is_v6: Option<bool>,
    /// `first_address_family_count`: so many of it come before one of the other; Envoy's default is 1.
    pub first_count: usize,
}

// === impl HappyEyeballs ===

impl HappyEyeballs {
    /// Addresses in the order in which they are tried: families take turns.
    ///
    /// Source: RFC 8305, section 4, and `HappyEyeballsConfig`.
    pub fn order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let first_is_v6 = self.first_is_v6.or_else(|| addresses.first().map(SocketAddr::is_ipv6));
        let of_first = |address: &&SocketAddr| Some(address.is_ipv6()) == first_is_v6;
        let mut first = addresses.iter().filter(of_first);
        let mut other = addresses.iter().filter(|address| !of_first(address));
        let mut out = Vec::with_capacity(addresses.len());
        while out.len() < addresses.len() {
            out.extend(first.by_ref().take(self.first_count.max(1)));
            out.extend(other.next());
        }
        out
    }
}

impl Default for HappyEyeballs {
    fn default() -> Self {
        Self { first_is_v6: None, first_count: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_of_a_hosts_addresses_take_turns() {
        let addresses = |text: &str| -> Vec<SocketAddr> {
            let address = |word: &str| match word.strip_prefix('v') {
                Some(last) => format!("[fd00::{last}]:80").parse().unwrap(),
                None => format!("10.0.0.{word}:80").parse().unwrap(),
            };
            text.split(' ').map(address).collect()
        };
        for (first_is_v6, first_count, given, expected) in [
            (None, 1, "1 2 v1 v2", "1 v1 2 v2"),
            (None, 1, "v1 1 2 3", "v1 1 2 3"),
            (None, 1, "1 2 3", "1 2 3"),
            (Some(true), 1, "1 2 v1 v2", "v1 1 v2 2"),
            (Some(false), 2, "v1 1 v2 2", "1 2 v1 v2"),
            (Some(false), 2, "v1 v2 v3 1", "1 v1 v2 v3"),
            (Some(true), 1, "1 2", "1 2"),
        ] {
            let order = HappyEyeballs { first_is_v6, first_count }.order(&addresses(given));
            assert_eq!(order, addresses(expected), "{given}, {first_is_v6:?} {first_count}");
        }
    }
}
