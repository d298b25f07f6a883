//! Owns the road from configuration text to plan: read, upgrade, check, compile. Pure functions.

pub mod check;
pub mod compile;
pub mod diagnostic;
pub mod digest;
pub mod message;
pub mod model;
pub mod node;
pub mod print;
pub mod resources;
pub mod schema;
pub mod upgrade;
pub mod yaml;

use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use message::Message;

/// The message that a configuration file is.
pub const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// A document to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as a person knows it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// How it is written.
    pub format: Format,
    /// A second document that is merged into it, as `--config-yaml` is into `--config-path`. Its lines
    /// are counted on from those of the first.
    pub merged: Option<Box<Source>>,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A document that was read, upgraded and checked.
#[derive(Debug)]
pub struct Checked {
    /// The bootstrap.
    pub bootstrap: Message,
    /// Warnings, and what the upgrade did.
    pub notes: Diagnostics,
}

// === impl Source ===

impl Source {
    /// A YAML document.
    pub fn yaml(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), format: Format::Yaml, merged: None }
    }

    /// A file's text; its name decides how it is read, as in Envoy.
    pub fn file(path: &Path, text: String) -> Self {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Format::Yaml,
            _ => Format::Json,
        };
        Self { name: path.display().to_string(), text, format, merged: None }
    }
}

impl Source {
    /// Merges another document into this one: fields that it sets win, lists are added to.
    #[must_use]
    pub fn with(self, other: Source) -> Self {
        Self { merged: Some(Box::new(other)), ..self }
    }

    /// Where a line of the whole stands: its document's name, its number there, and its text.
    pub(super) fn line(&self, number: u32) -> Option<(&str, u32, &str)> {
        let at = (number as usize).checked_sub(1)?;
        match (self.text.lines().nth(at), &self.merged) {
            (Some(text), _) => Some((&self.name, number, text)),
            (None, Some(merged)) => {
                merged.line(number.checked_sub(u32::try_from(self.text.lines().count()).ok()?)?)
            }
            (None, None) => None,
        }
    }

    fn read(&self, notes: &mut Diagnostics) -> Result<node::Node, Diagnostics> {
        let mut tree = yaml::read(self, notes)?;
        if let Some(merged) = &self.merged {
            // Empty lines before it make its places count on from the first document's.
            let before = "\n".repeat(self.text.lines().count());
            let text = format!("{before}{}", merged.text);
            tree.merge(yaml::read(&Source { text, ..(**merged).clone() }, notes)?);
        }
        Ok(tree)
    }
}

/// Reads a bootstrap: text to tree, v2 to v3 where it is v2, tree to checked message.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn check(source: &Source) -> Result<Checked, Diagnostics> {
    let mut notes = Diagnostics::default();
    let mut tree = source.read(&mut notes)?;
    upgrade::upgrade(&mut tree, &mut notes);
    let mut errors = Diagnostics::default();
    let bootstrap =
        check::message(&tree, BOOTSTRAP, check::Unknown::Refused, &mut errors, &mut notes);
    match bootstrap {
        Some(bootstrap) if !errors.has_errors() => Ok(Checked { bootstrap, notes }),
        _ => Err(errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_document_is_merged_and_its_mistakes_are_told_in_its_own_lines() {
        let first = Source::yaml(
            "a.yaml",
            "node: {id: a, cluster: c}\nstatic_resources:\n  clusters: []\n",
        );
        let second = Source::yaml("--config-yaml", "node: {id: b}\n");
        let checked = check(&first.with(second)).unwrap();
        let node = checked.bootstrap.message("node").unwrap();
        assert_eq!((node.text("id"), node.text("cluster")), (Some("b"), Some("c")));
        let merged = Source::yaml("--config-yaml", "\n\nnode: {idd: b}\n");
        let wrong = Source::yaml("a.yaml", "node: {id: a}").with(merged);
        let text = check(&wrong).map(drop).unwrap_err().render(&wrong);
        assert!(
            text.contains("--config-yaml:3:8") && text.contains("3 | node: {idd: b}"),
            "{text}"
        );
    }
}
