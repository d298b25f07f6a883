//! Owns the choice of a virtual host by the request's authority.

use super::texts::Texts;

/// Which virtual host takes which domain: exact, then the longest `*.suffix`, then the longest
/// `prefix.*`, then `*`. There is no fall-through from a chosen host to another.
///
/// Source: `VirtualHost.domains`; observed: Envoy 1.40.
#[derive(Debug, Default)]
pub(super) struct Domains {
    exact: Texts,
    /// Text after the star, longest first.
    suffixes: Vec<(Box<[u8]>, usize)>,
    /// Text before the star, longest first.
    prefixes: Vec<(Box<[u8]>, usize)>,
    any: Option<usize>,
}

// === impl Domains ===

impl Domains {
    /// Adds a domain as it is written in the configuration.
    pub(super) fn add(&mut self, domain: &str, host: usize) {
        let lower = domain.to_ascii_lowercase();
        match (lower.as_str(), lower.strip_prefix('*'), lower.strip_suffix('*')) {
            ("*", _, _) => self.any = Some(host),
            (_, Some(suffix), _) => insert_longest_first(&mut self.suffixes, suffix, host),
            (_, None, Some(prefix)) => insert_longest_first(&mut self.prefixes, prefix, host),
            _ => {
                self.exact.insert(lower.as_bytes().into(), host);
            }
        }
    }

    /// The virtual host for an authority. The port is part of it.
    pub(super) fn find(&self, authority: &[u8]) -> Option<usize> {
        if self.only_any() {
            return self.any;
        }
        if authority.iter().any(u8::is_ascii_uppercase) {
            return self.find_lower(&authority.to_ascii_lowercase());
        }
        self.find_lower(authority)
    }

    fn only_any(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty()
    }

    fn find_lower(&self, authority: &[u8]) -> Option<usize> {
        // The star stands for at least one character.
        let longer = |text: &[u8]| authority.len() > text.len();
        let suffix = || self.suffixes.iter().find(|(t, _)| longer(t) && authority.ends_with(t));
        let prefix = || self.prefixes.iter().find(|(t, _)| longer(t) && authority.starts_with(t));
        (self.exact.get(authority).copied())
            .or_else(|| suffix().map(|(_, host)| *host))
            .or_else(|| prefix().map(|(_, host)| *host))
            .or(self.any)
    }
}

fn insert_longest_first(list: &mut Vec<(Box<[u8]>, usize)>, text: &str, host: usize) {
    let at = list.partition_point(|(known, _)| known.len() >= text.len());
    list.insert(at, (text.as_bytes().into(), host));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_the_longest_suffix_beats_the_longest_prefix_beats_the_star() {
        let mut domains = Domains::default();
        let all = [
            "*",
            "foo.*",
            "foo-*",
            "*.foo.com",
            "*-bar.foo.com",
            "www.foo.com",
            "www.foo.com:8080",
        ];
        all.iter().enumerate().for_each(|(host, domain)| domains.add(domain, host));
        for (authority, expected) in [
            ("www.foo.com", "www.foo.com"),
            ("WWW.Foo.com", "www.foo.com"),
            ("www.foo.com:8080", "www.foo.com:8080"),
            ("www.foo.com:9090", "*"),
            ("a.foo.com", "*.foo.com"),
            ("a-bar.foo.com", "*-bar.foo.com"),
            ("foo.net", "foo.*"),
            ("foo-x", "foo-*"),
            (".foo.com", "*"),
            ("foo.", "*"),
            ("", "*"),
        ] {
            let found = domains.find(authority.as_bytes()).map(|host| all[host]);
            assert_eq!(found, Some(expected), "{authority}");
        }
    }
}
