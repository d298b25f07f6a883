//! Owns the tree a document is read into: every value with its place and its quotes.

use super::diagnostic::Span;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub at: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// Text as it was written; quoted text is a string whatever it says.
    Scalar {
        /// The text.
        text: String,
        /// It stood in quotes or in a block.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order.
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Span,
    /// The value.
    pub value: Node,
}

// === impl Node ===

impl Node {
    /// A string that stands at the place of another value.
    pub fn text(at: Span, text: impl Into<String>) -> Self {
        Self { at, kind: NodeKind::Scalar { text: text.into(), quoted: true } }
    }

    /// A mapping at a place.
    pub fn map(at: Span, entries: impl IntoIterator<Item = (String, Node)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| Entry { key, at, value });
        Self { at, kind: NodeKind::Map(entries.collect()) }
    }

    /// A list at a place.
    pub fn list(at: Span, items: Vec<Node>) -> Self {
        Self { at, kind: NodeKind::List(items) }
    }

    /// Merges another document into this one: mappings key by key, lists end to end, and what else the
    /// other says wins. Source: protobuf's `MergeFrom`, by which Envoy joins `--config-yaml` to the file.
    pub fn merge(&mut self, other: Node) {
        match (&mut self.kind, other.kind) {
            (NodeKind::Map(entries), NodeKind::Map(others)) => {
                for other in others {
                    match entries.iter_mut().find(|entry| entry.key == other.key) {
                        Some(entry) => entry.value.merge(other.value),
                        None => entries.push(other),
                    }
                }
            }
            (NodeKind::List(items), NodeKind::List(others)) => items.extend(others),
            (_, NodeKind::Null) => {}
            (_, kind) => *self = Node { at: other.at, kind },
        }
    }

    /// Whether it says nothing: null, or a mapping or list without anything in it.
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            NodeKind::Null => true,
            NodeKind::Scalar { .. } => false,
            NodeKind::List(items) => items.is_empty(),
            NodeKind::Map(entries) => entries.is_empty(),
        }
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entries of a mapping, to change them.
    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.kind {
            NodeKind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list; a lone value is a list of one, null a list of none.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::List(items) => items,
            NodeKind::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// The items of a list, to change them.
    pub fn items_mut(&mut self) -> &mut [Node] {
        if !matches!(self.kind, NodeKind::List(_)) {
            return std::slice::from_mut(self);
        }
        match &mut self.kind {
            NodeKind::List(items) => items,
            _ => &mut [],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().rev().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let entries = self.entries_mut()?;
        entries.iter_mut().rev().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let entries = self.entries_mut()?;
        let at = entries.iter().rposition(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }

    /// Adds a key at the end.
    pub fn put(&mut self, key: &str, at: Span, value: Node) {
        if let Some(entries) = self.entries_mut() {
            entries.push(Entry { key: key.to_owned(), at, value });
        }
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}
