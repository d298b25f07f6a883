//! Owns reading `DataSource`: text or bytes that stand in the configuration, in a file or in the environment.

use std::{env, fs, path::PathBuf};

use understudy_actors::resources::print_of;

use super::Compiler;
use crate::config::{Message, message::Value};

impl Compiler<'_> {
    /// What a source holds; none where an error was told, or where it names no source that we know.
    pub(super) fn data_source(&mut self, source: &Message) -> Option<Vec<u8>> {
        if let Some(text) = source.text("inline_string") {
            return Some(text.as_bytes().to_vec());
        }
        if let Some(Value::Bytes(bytes)) = source.get("inline_bytes").map(|set| &set.value) {
            return Some(bytes.clone());
        }
        let read = if let Some(path) = source.text("filename") {
            let read = fs::read(path);
            self.files.extend(read.iter().map(|held| (PathBuf::from(path), print_of(held))));
            read.map_err(|error| format!("cannot read {path:?}: {error}"))
        } else {
            let name = source.text("environment_variable")?;
            let missing = |_| format!("environment variable {name} is not set");
            env::var(name).map(String::into_bytes).map_err(missing)
        };
        read.map_err(|told| self.error(source.at, &source.path, told, "")).ok()
    }

    /// What `made` reads in files, as one number: they may hold something else another time, though the configuration says the
    /// same.
    pub(super) fn reading<T>(&mut self, made: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let before = std::mem::take(&mut self.files);
        let made = made(self);
        let read = std::mem::replace(&mut self.files, before);
        let held = read.iter().map(|(_, held)| held.to_ne_bytes()).collect::<Vec<_>>();
        (made, if held.is_empty() { 0 } else { print_of(held.as_flattened()) })
    }
}
