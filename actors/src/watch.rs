//! Owns noticing that files are others: something was moved onto a path, or written there.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    io,
    path::Path,
};

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

/// Room for the events of one read; each takes 16 bytes and its file's name.
const EVENT_BYTES: usize = 4096;

/// What of a path is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticing {
    /// A move onto it.
    ///
    /// Observed: Envoy 1.40 loads runtime directories and discovery files again after a move only.
    Moves,
    /// A move onto it, and that somebody has closed it after writing.
    MovesAndWrites,
    /// A move onto anything within it.
    MovesWithin,
}

/// Watches paths.
pub(crate) struct Watch {
    events: EventStream<[u8; EVENT_BYTES]>,
    /// What is watched for, by the folder it stands in.
    watched: HashMap<WatchDescriptor, Vec<Watched>>,
}

/// One path.
struct Watched {
    /// Its place among the paths.
    at: usize,
    /// Its name in the folder.
    name: OsString,
    noticing: Noticing,
}

// === impl Watch ===

impl Watch {
    /// Watches these paths, of which the folders must be there.
    ///
    /// # Errors
    ///
    /// The system's, for a folder that is not there or when it watches too much already.
    pub(crate) fn on<'p>(
        paths: impl IntoIterator<Item = (&'p Path, Noticing)>,
    ) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let mut watched: HashMap<WatchDescriptor, Vec<Watched>> = HashMap::new();
        for (at, (path, noticing)) in paths.into_iter().enumerate() {
            let folder = match noticing {
                Noticing::MovesWithin => Some(path),
                _ => path.parent().filter(|folder| !folder.as_os_str().is_empty()),
            };
            let mask = match noticing {
                Noticing::MovesAndWrites => WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE,
                _ => WatchMask::MOVED_TO,
            };
            let folder = folder.unwrap_or(Path::new("."));
            let folder = inotify.watches().add(folder, mask | WatchMask::MASK_ADD)?;
            let name = path.file_name().unwrap_or_default().to_owned();
            watched.entry(folder).or_default().push(Watched { at, name, noticing });
        }
        let events = inotify.into_event_stream([0; EVENT_BYTES])?;
        Ok(Self { events, watched })
    }

    /// Waits until something is noticed; gives the places of the paths it was noticed of.
    ///
    /// # Errors
    ///
    /// The system's; there is nothing more to wait for then.
    pub(crate) async fn noticed(&mut self) -> io::Result<HashSet<usize>> {
        while let Some(event) = self.events.next().await {
            let event = event?;
            if event.mask.contains(EventMask::IGNORED) {
                // The folder is gone: nothing more comes of it.
                return Err(io::ErrorKind::NotFound.into());
            }
            let lost = event.mask.contains(EventMask::Q_OVERFLOW);
            let moved = event.mask.contains(EventMask::MOVED_TO);
            let name = event.name.unwrap_or_default();
            let of = |watched: &&Watched| match watched.noticing {
                Noticing::Moves => moved && watched.name == name,
                Noticing::MovesAndWrites => watched.name == name,
                Noticing::MovesWithin => moved,
            };
            let noticed: HashSet<usize> = match lost {
                true => self.watched.values().flatten().map(|watched| watched.at).collect(),
                false => {
                    let here = self.watched.get(&event.wd).into_iter().flatten();
                    here.filter(of).map(|watched| watched.at).collect()
                }
            };
            if !noticed.is_empty() {
                return Ok(noticed);
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
        let mut watch = Watch::on([(&*link, Noticing::Moves)]).unwrap();
        fs::write(folder.join("one/stranger"), "1").unwrap();
        fs::rename(folder.join("one/stranger"), folder.join("stranger")).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), watch.noticed()).await;
        assert!(waited.is_err(), "a stranger was noticed");
        symlink("one", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.noticed()).await.unwrap().unwrap();
        assert!(Watch::on([(&*folder.join("no/such"), Noticing::Moves)]).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
