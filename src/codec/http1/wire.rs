//! Owns how Envoy counts the bytes of a head's fields: those that it reads, and those that it writes.

/// Bytes of the fields of a head that was read: names, values, and three for the colon and the line's end.
///
/// Observed: Envoy 1.40, `%DOWNSTREAM_HEADER_BYTES_RECEIVED%`.
pub fn fields_read(head: &[u8]) -> u64 {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // Empty lines may come before the first; after it, one is the end.
    let fields = lines.skip_while(|line| line.is_empty()).skip(1);
    fields
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = match line.iter().position(|byte| *byte == b':') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &b""[..]),
            };
            (name.len() + value.trim_ascii().len() + 3) as u64
        })
        .sum()
}

/// Bytes of the fields of a head that was written: its lines without the first one and the empty one.
///
/// Observed: Envoy 1.40, `%DOWNSTREAM_HEADER_BYTES_SENT%`.
pub fn fields_written(head: &[u8]) -> u64 {
    let first = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
    (head.len() - first).saturating_sub(2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_as_in_envoy() {
        let head = b"\r\nGET /a HTTP/1.1\r\nhost: parity.test\r\nx-name:  1.1a-get \r\n\r\n";
        assert_eq!(fields_read(head), 4 + 11 + 3 + 6 + 8 + 3);
        assert_eq!(fields_read(b"HTTP/1.1 200 OK\r\n\r\n"), 0);
        assert_eq!(fields_written(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"), 6);
        assert_eq!((fields_read(b""), fields_written(b"")), (0, 0));
    }
}
