//! Header lines as they are held against httparse.

use std::collections::BTreeMap;

/// Values by names, those of a name joined: which of them we join is not httparse's affair.
pub(crate) fn joined<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut out: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        match out.get_mut(&name) {
            Some(before) => {
                before.push(b',');
                before.extend_from_slice(value);
            }
            None => drop(out.insert(name, value.to_vec())),
        }
    }
    out
}

/// A line that goes on in the next one: httparse does not know it in requests, and keeps the line's end in it in
/// responses.
pub(crate) fn is_folded(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, b"\n " | b"\n\t"))
}
