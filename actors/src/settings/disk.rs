//! Owns reading a runtime layer from a folder: a file is a key, its text the value.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::runtime::RuntimeValue;

/// Folders within folders. Source: Envoy's `DiskLayer::MaxWalkDepth`.
const DEPTH_MAX: usize = 16;

/// Bytes of one value.
const VALUE_BYTES_MAX: u64 = 1 << 20;

/// Values of one layer.
const VALUES_MAX: usize = 65_536;

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    /// The system refused.
    #[error("{path}: {error}")]
    Read {
        /// The file or folder.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Folders within folders within folders.
    #[error("Walk recursion depth exceeded {DEPTH_MAX}")]
    Deep,
    /// More than anybody would want.
    #[error(
        "{path}: a value is at most {VALUE_BYTES_MAX} bytes, and a layer has at most {VALUES_MAX} of them"
    )]
    Large {
        /// Where it became too much.
        path: String,
    },
}

/// Reads a layer: `a/b` below `folder` is the key `a.b`. `None` where there is no such folder.
///
/// # Errors
///
/// [`DiskError`]; then nothing of the folder is to be used.
pub(super) fn read(folder: &Path) -> Result<Option<BTreeMap<String, RuntimeValue>>, DiskError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut entries = BTreeMap::new();
    walk(folder, "", 1, &mut entries)?;
    Ok(Some(entries))
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    out: &mut BTreeMap<String, RuntimeValue>,
) -> Result<(), DiskError> {
    if depth > DEPTH_MAX {
        return Err(DiskError::Deep);
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| DiskError::Read { path, error }
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let key = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
        // Of a link, what it leads to.
        let what = fs::metadata(&path).map_err(failed(&path))?;
        if what.is_dir() {
            walk(&path, &key, depth + 1, out)?;
            continue;
        }
        if !what.is_file() {
            continue;
        }
        if what.len() > VALUE_BYTES_MAX || out.len() >= VALUES_MAX {
            return Err(DiskError::Large { path: path.display().to_string() });
        }
        let bytes = fs::read(&path).map_err(failed(&path))?;
        out.insert(key, RuntimeValue::parse(&without_comments(&String::from_utf8_lossy(&bytes))));
    }
    Ok(())
}

/// Lines that begin with `#` are comments; white space at the end is none of the value's.
///
/// Source: Envoy's architecture overview, "Runtime configuration", "Comments".
fn without_comments(text: &str) -> String {
    let lines = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_values_and_folders_are_parts_of_their_keys() {
        let folder = std::env::temp_dir().join(format!("understudy-disk-{}", std::process::id()));
        fs::create_dir_all(folder.join("routing/canary")).unwrap();
        for (path, text) in [
            ("flag", "true\n"),
            ("routing/switch", "# how many percent\n 50 \n"),
            ("routing/canary/note", "a\n\nb\n"),
            ("placeholder", "# nothing yet\n"),
        ] {
            fs::write(folder.join(path), text).unwrap();
        }
        let entries = read(&folder).unwrap().unwrap();
        let texts: Vec<_> =
            entries.iter().map(|(key, value)| (key.as_str(), value.text.as_str())).collect();
        let expected = [
            ("flag", "true"),
            ("placeholder", ""),
            ("routing.canary.note", "a\nb"),
            ("routing.switch", " 50"),
        ];
        assert_eq!(texts, expected);
        assert_eq!(entries["routing.switch"].number, Some(50.0));
        assert!(read(&folder.join("nosuch")).unwrap().is_none());
        let deep = (0..16).fold(folder.join("deep"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(matches!(read(&folder), Err(DiskError::Deep)));
        fs::remove_dir_all(&folder).unwrap();
    }
}
