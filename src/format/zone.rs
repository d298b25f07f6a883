//! Owns the machine's time zone: how far its clocks are from universal time.

use std::{env, fs, sync::OnceLock};

/// Where zones are described.
const ZONES: &str = "/usr/share/zoneinfo";

/// A zone's clocks, from each moment on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Clocks {
    /// Seconds since 1970, ascending, and the offset from then on.
    changes: Vec<(i64, i64)>,
    /// Before the first change.
    first: i64,
}

/// Seconds that the machine's clocks are ahead of universal time at a moment. What the machine says of its
/// zone is read once; where it says nothing its clocks show universal time.
pub(super) fn offset_seconds(unix: u64) -> i64 {
    static CLOCKS: OnceLock<Clocks> = OnceLock::new();
    let clocks = CLOCKS.get_or_init(|| {
        let file = match env::var("TZ") {
            Ok(zone) if zone.is_empty() => return Clocks::default(),
            Ok(zone) => {
                let zone = zone.strip_prefix(':').unwrap_or(&zone);
                if zone.starts_with('/') { zone.to_owned() } else { format!("{ZONES}/{zone}") }
            }
            Err(_) => "/etc/localtime".to_owned(),
        };
        fs::read(file).ok().and_then(|file| Clocks::read(&file)).unwrap_or_default()
    });
    clocks.at(i64::try_from(unix).unwrap_or(i64::MAX))
}

// === impl Clocks ===

impl Clocks {
    /// Reads a TZif file (RFC 9636). Its second part has 64-bit times; years beyond its last change, which a
    /// rule describes, keep the offset of that change.
    fn read(file: &[u8]) -> Option<Self> {
        let (header, sizes) = header(file)?;
        if header < b'2' {
            return Self::block(file.get(44..)?, sizes, 4);
        }
        let second = file.get(44 + length(sizes, 4)?..)?;
        let (_, sizes) = self::header(second)?;
        Self::block(second.get(44..)?, sizes, 8)
    }

    fn block(data: &[u8], sizes: [usize; 6], time_bytes: usize) -> Option<Self> {
        let [_, _, _, times, types, _] = sizes;
        let indexes = data.get(times * time_bytes..)?;
        let described = indexes.get(times..)?;
        let offset = |index: usize| {
            let bytes = described.get(index.checked_mul(6)?..)?.first_chunk()?;
            (index < types).then(|| i64::from(i32::from_be_bytes(*bytes)))
        };
        let mut changes = Vec::new();
        for at in 0..times {
            let bytes = data.get(at * time_bytes..)?;
            let time = match time_bytes {
                4 => i64::from(i32::from_be_bytes(*bytes.first_chunk()?)),
                _ => i64::from_be_bytes(*bytes.first_chunk()?),
            };
            changes.push((time, offset(usize::from(*indexes.get(at)?))?));
        }
        Some(Self { changes, first: offset(0)? })
    }

    fn at(&self, unix: i64) -> i64 {
        let passed = self.changes.partition_point(|(from, _)| *from <= unix);
        let last = passed.checked_sub(1).and_then(|at| self.changes.get(at));
        last.map_or(self.first, |(_, offset)| *offset)
    }
}

/// The version, and the six counts of a part: of universal and standard indicators, leap seconds, times,
/// types and bytes of names.
fn header(file: &[u8]) -> Option<(u8, [usize; 6])> {
    let version = *file.strip_prefix(b"TZif")?.first()?;
    let mut sizes = [0; 6];
    for (at, size) in sizes.iter_mut().enumerate() {
        let bytes = file.get(20 + at * 4..)?.first_chunk()?;
        *size = usize::try_from(u32::from_be_bytes(*bytes)).ok().filter(|size| *size < 1 << 20)?;
    }
    Some((version, sizes))
}

/// Bytes of a part after its header.
fn length([utc, standard, leap, times, types, names]: [usize; 6], time: usize) -> Option<usize> {
    Some(times * (time + 1) + types * 6 + names + leap * (time + 4) + standard + utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one part with 64-bit times, after an empty first part.
    fn file(changes: &[(i64, u8)], types: &[i32]) -> Vec<u8> {
        let part = |times: usize, types: usize| {
            let mut out = b"TZif2".to_vec();
            out.resize(20, 0);
            for size in [0, 0, 0, times, types, 0] {
                out.extend(u32::try_from(size).unwrap().to_be_bytes());
            }
            out
        };
        let mut out = part(0, 0);
        out.extend(part(changes.len(), types.len()));
        changes.iter().for_each(|(at, _)| out.extend(at.to_be_bytes()));
        changes.iter().for_each(|(_, index)| out.push(*index));
        for offset in types {
            out.extend(offset.to_be_bytes());
            out.extend([0, 0]);
        }
        out
    }

    #[test]
    fn clocks_change_when_the_file_says_and_broken_files_say_nothing() {
        let whole = file(&[(100, 1), (200, 0)], &[3_600, 7_200]);
        let clocks = Clocks::read(&whole).unwrap();
        for (at, offset) in [(0, 3_600), (99, 3_600), (100, 7_200), (199, 7_200), (200, 3_600)] {
            assert_eq!(clocks.at(at), offset, "{at}");
        }
        for end in 0..whole.len() {
            assert!(
                Clocks::read(&whole[..end])
                    .is_none_or(|clocks| clocks == Clocks::default() || clocks.changes.len() == 2),
                "{end}"
            );
        }
        assert_eq!(Clocks::default().at(1), 0);
    }
}
