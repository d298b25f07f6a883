//! Owns what a configuration does to headers: `request_headers_to_add` and its kind.

use std::sync::Arc;

use crate::{codec::Known, format::Format};

/// What is done to the headers of a request and of its response, level by level, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutations {
    /// Of the request.
    pub request: Vec<Arc<HeaderEdits>>,
    /// Of the response, be it ours or the upstream's.
    pub response: Vec<Arc<HeaderEdits>>,
}

/// What one level (a route, a virtual host, a table, a cluster weight) says.
#[derive(Clone, Debug, Default)]
pub struct MutationLevel {
    /// Of the request; none where it says nothing.
    pub request: Option<Arc<HeaderEdits>>,
    /// Of the response.
    pub response: Option<Arc<HeaderEdits>>,
}

/// What is done to a block of headers: removed, then set, then added. All values are made before any is
/// set. Observed: Envoy 1.40.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Names that are removed.
    pub remove: Vec<EditedName>,
    /// Headers that are set or added.
    pub add: Vec<HeaderEdit>,
}

/// `HeaderValueOption`
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderEdit {
    /// `header.key`
    pub name: EditedName,
    /// `header.value`
    pub value: Format,
    /// `append_action`
    pub action: AppendAction,
    /// `keep_empty_value`
    pub keep_empty: bool,
}

/// A header's name in lower case, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedName {
    /// The name.
    pub text: Box<[u8]>,
    /// The same, if it is known.
    pub known: Known,
}

/// `HeaderAppendAction`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Another line, whatever there is.
    #[default]
    AppendIfExistsOrAdd,
    /// Only where there is none.
    AddIfAbsent,
    /// In place of what there is.
    OverwriteIfExistsOrAdd,
    /// The same, but only where there is one.
    OverwriteIfExists,
}

// === impl Mutations ===

impl Mutations {
    /// What these levels do together, in this order: of two that set the same header the last wins.
    pub fn of(levels: &[&MutationLevel]) -> Option<Arc<Self>> {
        let request: Vec<_> = levels.iter().filter_map(|level| level.request.clone()).collect();
        let response: Vec<_> = levels.iter().filter_map(|level| level.response.clone()).collect();
        let any = !request.is_empty() || !response.is_empty();
        any.then(|| Arc::new(Self { request, response }))
    }
}

// === impl EditedName ===

impl EditedName {
    /// A name, in any case.
    pub fn new(name: &str) -> Self {
        let text = name.to_ascii_lowercase().into_bytes();
        Self { known: Known::of(&text), text: text.into() }
    }
}
