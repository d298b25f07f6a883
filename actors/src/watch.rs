//! Owns noticing that something was moved onto a path: how configuration is swapped as a whole.

use std::{collections::HashMap, ffi::OsString, io, path::Path};

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

/// Room for the events of one read; each takes 16 bytes and its file's name.
const EVENT_BYTES: usize = 4096;

/// Watches paths. A file that is written in place is not noticed: half of it could be read.
///
/// Observed: Envoy 1.40 loads runtime directories and discovery files again after a move only.
pub(crate) struct Watch {
    events: EventStream<[u8; EVENT_BYTES]>,
    /// Names that are watched for, by the folder they stand in.
    names: HashMap<WatchDescriptor, Vec<OsString>>,
}

// === impl Watch ===

impl Watch {
    /// Watches these paths, of which the folders must be there.
    ///
    /// # Errors
    ///
    /// The system's, for a folder that is not there or when it watches too much already.
    pub(crate) fn on<'p>(paths: impl IntoIterator<Item = &'p Path>) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let mut names: HashMap<WatchDescriptor, Vec<OsString>> = HashMap::new();
        for path in paths {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let watched = inotify.watches().add(folder, WatchMask::MOVED_TO)?;
            let name = path.file_name().unwrap_or_default().to_owned();
            names.entry(watched).or_default().push(name);
        }
        let events = inotify.into_event_stream([0; EVENT_BYTES])?;
        Ok(Self { events, names })
    }

    /// Waits until something was moved onto one of the paths.
    ///
    /// # Errors
    ///
    /// The system's; there is nothing more to wait for then.
    pub(crate) async fn moved(&mut self) -> io::Result<()> {
        while let Some(event) = self.events.next().await {
            let event = event?;
            let lost = event.mask.contains(EventMask::Q_OVERFLOW);
            let onto = self.names.get(&event.wd);
            let name = event.name.unwrap_or_default();
            if lost || onto.is_some_and(|names| names.contains(&name)) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_link_that_is_moved_onto_the_path_is_noticed_and_a_stranger_beside_it_is_not() {
        let folder = std::env::temp_dir().join(format!("understudy-watch-{}", std::process::id()));
        fs::create_dir_all(folder.join("one")).unwrap();
        let (link, next) = (folder.join("current"), folder.join("next"));
        let _ = fs::remove_file(&link);
        symlink("one", &link).unwrap();
        let mut watch = Watch::on([&*link]).unwrap();
        fs::write(folder.join("one/stranger"), "1").unwrap();
        fs::rename(folder.join("one/stranger"), folder.join("stranger")).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), watch.moved()).await;
        assert!(waited.is_err(), "a stranger was noticed");
        symlink("one", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.moved()).await.unwrap().unwrap();
        assert!(Watch::on([&*folder.join("no/such")]).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
