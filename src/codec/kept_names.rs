//! Owns header names as a peer wrote them, for those behind us who cannot read them in lower case.

use super::http1::write::NameCase;

/// The names of one head, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptNames {
    names: Vec<Box<[u8]>>,
    /// What is done to names that were not among them.
    others_proper: bool,
    /// A response's own reason phrase, where it is kept.
    reason: Option<Box<[u8]>>,
}

/// What is kept: `PreserveCaseFormatterConfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// `formatter_type_on_envoy_headers: PROPER_CASE`
    pub others_proper: bool,
    /// `forward_reason_phrase`
    pub reason: bool,
}

// === impl KeptNames ===

impl KeptNames {
    /// Reads the names of a head that was found to be one.
    pub fn read(head: &[u8], keeping: Keeping) -> Self {
        let skipped = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let mut lines = head.get(skipped..).unwrap_or_default().split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let folded = |line: &&[u8]| !matches!(line.first(), Some(b' ' | b'\t'));
        let names = lines.filter(folded).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line.get(..colon).map(Into::into)
        });
        Self {
            names: names.collect(),
            others_proper: keeping.others_proper,
            reason: keeping.reason.then(|| reason_of(first).into()),
        }
    }

    /// The name as it was written first; none for one that was not there.
    pub fn of(&self, lower: &[u8]) -> Option<&[u8]> {
        let mut names = self.names.iter().map(|name| &**name);
        names.find(|name| name.eq_ignore_ascii_case(lower))
    }

    /// How names are written that were not there.
    pub fn others(&self) -> NameCase<'_> {
        if self.others_proper { NameCase::Proper } else { NameCase::Lower }
    }

    /// The reason phrase, where it is kept and there was one.
    pub fn reason(&self) -> Option<&[u8]> {
        self.reason.as_deref().filter(|reason| !reason.is_empty())
    }
}

/// What follows version and status.
fn reason_of(line: &[u8]) -> &[u8] {
    let mut words = line.splitn(3, |byte| *byte == b' ').skip(2);
    words.next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_were_written_first() {
        let head =
            b"\r\nHTTP/1.1 200 All Fine\r\nX-fOO: a:b\r\n X-Fold: 1\r\nx-FOO: 2\r\nETag: x\r\n\r\n";
        let kept = KeptNames::read(head, Keeping { reason: true, ..Keeping::default() });
        assert_eq!(kept.of(b"x-foo"), Some(&b"X-fOO"[..]));
        assert_eq!(kept.of(b"etag"), Some(&b"ETag"[..]));
        assert_eq!(kept.of(b"x-fold"), None);
        assert_eq!(kept.reason(), Some(&b"All Fine"[..]));
        assert_eq!(KeptNames::read(head, Keeping::default()).reason(), None);
    }
}
