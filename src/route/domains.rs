//! Owns the choice of a virtual host by the request's authority.

use super::texts::Texts;

/// Which virtual host takes which domain: exact, then the longest `*.suffix`, then the longest
/// `prefix.*`, then `*`. There is no fall-through from a chosen host to another.
///
/// Source: `VirtualHost.domains`; observed: Envoy 1.40.
#[derive(Debug, Default)]
pub(super) struct Domains {
    exact: Texts,
    /// Text after the star.
    suffixes: Stars,
    /// Text before the star.
    prefixes: Stars,
    any: Option<usize>,
    /// There are others than `*`.
    others: bool,
}

/// Domains with a star, by what stands beside it.
#[derive(Debug, Default)]
struct Stars {
    by_text: Texts,
    /// Lengths that occur, the longest first.
    lengths: Vec<usize>,
}

// === impl Domains ===

impl Domains {
    /// Adds a domain as it is written in the configuration.
    pub(super) fn add(&mut self, domain: &str, host: usize) {
        let lower = domain.to_ascii_lowercase();
        self.others |= lower != "*";
        match (lower.as_str(), lower.strip_prefix('*'), lower.strip_suffix('*')) {
            ("*", _, _) => self.any = Some(host),
            (_, Some(suffix), _) => self.suffixes.add(suffix, host),
            (_, None, Some(prefix)) => self.prefixes.add(prefix, host),
            _ => _ = self.exact.insert(lower.as_bytes().into(), host),
        }
    }

    /// The virtual host for an authority. The port is part of it.
    #[inline]
    pub(super) fn find(&self, authority: &[u8]) -> Option<usize> {
        if !self.others {
            return self.any;
        }
        if authority.iter().any(u8::is_ascii_uppercase) {
            return self.find_lower(&authority.to_ascii_lowercase());
        }
        self.find_lower(authority)
    }

    fn find_lower(&self, authority: &[u8]) -> Option<usize> {
        let bytes = authority.len();
        let suffix = |length: usize| authority.get(bytes.checked_sub(length)?..);
        let prefix = |length: usize| authority.get(..length);
        (self.exact.get(authority).copied())
            .or_else(|| self.suffixes.find(bytes, suffix))
            .or_else(|| self.prefixes.find(bytes, prefix))
            .or(self.any)
    }
}

// === impl Stars ===

impl Stars {
    fn add(&mut self, text: &str, host: usize) {
        let at = self.lengths.partition_point(|length| *length > text.len());
        if self.lengths.get(at) != Some(&text.len()) {
            self.lengths.insert(at, text.len());
        }
        self.by_text.insert(text.as_bytes().into(), host);
    }

    /// The longest that fits; `part` cuts so many bytes from the authority, which has `bytes`.
    fn find<'a>(&self, bytes: usize, part: impl Fn(usize) -> Option<&'a [u8]>) -> Option<usize> {
        // The star stands for at least one character.
        let shorter = self.lengths.iter().filter(|length| **length < bytes);
        let mut found = shorter.filter_map(|length| self.by_text.get(part(*length)?));
        found.next().copied()
    }
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
