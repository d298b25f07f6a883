//! Owns compiling what is done to headers.

use std::sync::Arc;

use super::super::Compiler;
use crate::config::{
    Message,
    diagnostic::Span,
    message::Value,
    model::route::{AppendAction, EditedName, HeaderEdit, HeaderEdits, MutationLevel, Mutations},
};

const EARLY_MUTATION: &str =
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";

/// What is done to headers by what a route stands in.
pub(super) struct OuterMutations {
    pub(super) host: MutationLevel,
    pub(super) table: MutationLevel,
    /// `most_specific_header_mutations_wins`
    pub(super) most_specific_wins: bool,
}

impl OuterMutations {
    /// With what the route says, and its share of a weighted cluster. The share stands first, even where
    /// the most specific level is to win. Observed: Envoy 1.40.
    pub(super) fn with(
        &self,
        part: Option<&MutationLevel>,
        route: &MutationLevel,
    ) -> Option<Arc<Mutations>> {
        let mut levels = [route, &self.host, &self.table];
        if self.most_specific_wins {
            levels.reverse();
        }
        let levels: Vec<_> = part.into_iter().chain(levels).collect();
        Mutations::of(&levels)
    }
}

impl Compiler<'_> {
    /// `request_headers_to_add` and its kind of a route, a virtual host, a table or a cluster weight.
    pub(in crate::config::compile) fn mutation_level(&mut self, holder: &Message) -> MutationLevel {
        let mut edits = |add: &str, remove: &str| {
            let edits = self.header_edits(holder, add, remove);
            (!edits.add.is_empty() || !edits.remove.is_empty()).then(|| Arc::new(edits))
        };
        MutationLevel {
            request: edits("request_headers_to_add", "request_headers_to_remove"),
            response: edits("response_headers_to_add", "response_headers_to_remove"),
        }
    }

    /// `early_header_mutation_extensions`: each step sees what those before it have done.
    pub(in crate::config::compile) fn early_mutations(
        &mut self,
        manager: &Message,
    ) -> Vec<HeaderEdits> {
        let mut steps = Vec::new();
        for extension in manager.messages("early_header_mutation_extensions") {
            extension.ignore("name", "free text; the type decides");
            let Some(config) = extension.any("typed_config") else { continue };
            if config.message.name() != EARLY_MUTATION {
                self.refuse_whole(&config.message, config.message.name());
                continue;
            }
            steps.extend(self.header_mutations(&config.message, "mutations"));
        }
        steps
    }

    /// A list of `HeaderMutation`s. One of a kind that is not taken is left unread, and so refused.
    pub(super) fn header_mutations(&mut self, holder: &Message, field: &str) -> Vec<HeaderEdits> {
        let mut steps = Vec::new();
        for mutation in holder.messages(field) {
            let mut step = HeaderEdits::default();
            if let Some(append) = mutation.message("append") {
                step.add.extend(self.header_edit(append));
            } else if let Some(name) = mutation.text("remove") {
                self.check_removal(mutation.at_of("remove"), &mutation.path_of("remove"), name);
                step.remove.push(EditedName::new(name));
            }
            steps.push(step);
        }
        steps
    }

    fn check_removal(&mut self, at: Span, path: &str, name: &str) {
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            let text = ":-prefixed or host headers may not be removed";
            self.error(at, path, text, "they make the request what it is");
        }
    }

    fn header_edits(&mut self, holder: &Message, add: &str, remove: &str) -> HeaderEdits {
        let mut edits = HeaderEdits::default();
        for (name, at) in holder.texts(remove) {
            self.check_removal(at, &holder.path_of(remove), name);
            edits.remove.push(EditedName::new(name));
        }
        edits.add = holder.messages(add).filter_map(|option| self.header_edit(option)).collect();
        edits
    }

    /// `HeaderValueOption`
    pub(in crate::config::compile) fn header_edit(
        &mut self,
        option: &Message,
    ) -> Option<HeaderEdit> {
        let header = option.message("header")?;
        let name = header.text("key")?;
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            let text = ":-prefixed or host headers may not be modified";
            let hint = "a route rewrites path and host by `prefix_rewrite`, `host_rewrite_literal`";
            self.error(header.at_of("key"), &header.path_of("key"), text, hint);
        }
        if option.peek("append").is_some() && option.peek("append_action").is_some() {
            let text = "Both append and append_action are set and it's not allowed";
            self.error(option.at, &option.path, text, "leave `append` out");
        }
        let action = match (option.boolean("append"), option.choice("append_action")) {
            (Some(false), _) => AppendAction::OverwriteIfExistsOrAdd,
            (_, Some("ADD_IF_ABSENT")) => AppendAction::AddIfAbsent,
            (_, Some("OVERWRITE_IF_EXISTS_OR_ADD")) => AppendAction::OverwriteIfExistsOrAdd,
            (_, Some("OVERWRITE_IF_EXISTS")) => AppendAction::OverwriteIfExists,
            _ => AppendAction::AppendIfExistsOrAdd,
        };
        let raw = match header.get("raw_value").map(|set| &set.value) {
            Some(Value::Bytes(bytes)) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        };
        let field = if raw.is_some() { "raw_value" } else { "value" };
        let value = raw.unwrap_or_else(|| header.text("value").unwrap_or_default().to_owned());
        let value =
            self.format(header.at_of(field), &header.path_of(field), &in_new_words(&value))?;
        let keep_empty = option.boolean("keep_empty_value").unwrap_or(false);
        Some(HeaderEdit { name: EditedName::new(name), value, action, keep_empty })
    }
}

/// Headers have known two forms that no other format has. Envoy reads them as what they have become.
fn in_new_words(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("%PER_REQUEST_STATE(") {
        let params = &rest[at + "%PER_REQUEST_STATE(".len()..];
        let Some(end) = params.find(")%") else { break };
        out.push_str(&rest[..at]);
        out.push_str(&format!("%FILTER_STATE({}:PLAIN)%", &params[..end]));
        rest = &params[end + 2..];
    }
    out.push_str(rest);
    out
}
