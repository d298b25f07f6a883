//! Owns compiling who is asked for resources.

use std::path::{Path, PathBuf};

use understudy_actors::resources::ConfigSource;

use super::Compiler;
use crate::config::{Message, resources::BINARY};

impl Compiler<'_> {
    /// `dynamic_resources`: who is asked for clusters, and who for listeners.
    pub(super) fn dynamic_resources(
        &mut self,
        bootstrap: &Message,
    ) -> (Option<ConfigSource>, Option<ConfigSource>) {
        let Some(dynamic) = bootstrap.message("dynamic_resources") else { return (None, None) };
        let mut from = |name| dynamic.message(name).and_then(|source| self.config_source(source));
        (from("cds_config"), from("lds_config"))
    }

    /// A file. What else may be asked is left unread, and so refused by name.
    ///
    /// Observed: Envoy 1.40 refuses a file that is not there.
    pub(super) fn config_source(&mut self, source: &Message) -> Option<ConfigSource> {
        source.ignore("resource_api_version", "v2 is read as v3 in any case");
        source.ignore("initial_fetch_timeout", "a file answers at once");
        let (path, watched, at) = match source.message("path_config_source") {
            Some(file) => {
                let watched = file.message("watched_directory").and_then(|one| one.text("path"));
                (file.text("path")?, watched.map(PathBuf::from), file.at_of("path"))
            }
            None => (source.text("path")?, None, source.at_of("path")),
        };
        for path in [Path::new(path)].into_iter().chain(watched.as_deref()) {
            if !path.exists() {
                let path = path.display();
                let text = format!(
                    "paths must refer to an existing path in the system: '{path}' does not exist"
                );
                self.error(at, &source.path, text, "");
            }
        }
        let path = PathBuf::from(path);
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if BINARY.contains(&ending) {
            let what = format!("a file of discovery in protobuf's own form (.{ending})");
            self.unsupported(at, &source.path, &what);
        }
        Some(ConfigSource::File { path, watched })
    }
}
