//! Owns reading what discovery sends: a document to a response, its resources to checked messages.

use std::sync::Arc;

use understudy_actors::{
    plan::Payload,
    resources::{Document, Found, Kind, Known, ResourcePlan, Response, ResponseError, Wrong},
};

use super::{
    Diagnostics, Message, Source, check,
    compile::listener::name_of,
    digest::digest,
    message::{AnyValue, Value},
    upgrade, yaml,
};
use crate::xxhash::xxh64;

const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";

/// A message that carries another one with its name and version.
const WRAPPER: &str = "envoy.service.discovery.v3.Resource";

/// Endings of files that hold protobuf, which are known to Envoy.
pub(super) const BINARY: [&str; 4] = ["pb", "pb_text", "pbtxt", "pb_length_delimited"];

/// How a resource is compiled, once it is known what there is besides it.
type Compile = dyn Fn(&Message, &Known, &Source) -> Result<ResourcePlan, Diagnostics>;

/// Reads a document. `told` gets the warnings: of fields that are not known, too, which a response may have.
///
/// # Errors
///
/// [`ResponseError`] with all that is wrong, for a person.
pub fn read(
    kind: Kind,
    Document { path, text }: &Document,
    told: impl FnOnce(&Diagnostics, &Source),
    compile: impl Fn(&Message, &Known, &Source) -> Result<ResourcePlan, Diagnostics> + 'static,
) -> Result<Response, ResponseError> {
    let unreadable = |text: String| Err(ResponseError::Unreadable(text));
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if BINARY.contains(&ending) {
        return unreadable(format!(
            "{}: files of discovery are read as .yaml or .json, not as .{ending}",
            path.display()
        ));
    }
    let source = Arc::new(Source::file(path, text.to_string()));
    let mut notes = Diagnostics::default();
    let mut tree = match yaml::read(&source, &mut notes) {
        Ok(tree) => tree,
        Err(errors) => return unreadable(errors.render(&source)),
    };
    upgrade::upgrade_message(&mut tree, RESPONSE, &mut notes);
    let mut errors = Diagnostics::default();
    let message = check::message(&tree, RESPONSE, check::Unknown::Warned, &mut errors, &mut notes);
    if errors.has_errors() {
        let text = errors.render(&source);
        return Err(match errors.only_breaks_rules() {
            true => ResponseError::Rejected(text),
            false => ResponseError::Unreadable(text),
        });
    }
    let Some(message) = message else { return unreadable("the document is empty".to_owned()) };
    told(&notes, &source);
    let version = message.text("version_info").unwrap_or_default().to_owned();
    let compile: Arc<Compile> = Arc::new(compile);
    let mut resources = Vec::new();
    for set in message.fields.into_iter().filter(|set| set.field.name == "resources") {
        let Value::List(items) = set.value else { continue };
        for item in items {
            let Value::Any(any) = item.value else { continue };
            resources.push(found(kind, *any, &source, &compile)?);
        }
    }
    let version_hash = xxh64(version.as_bytes(), 0);
    Ok(Response { version, version_hash, resources })
}

fn found(
    kind: Kind,
    any: AnyValue,
    source: &Arc<Source>,
    compile: &Arc<Compile>,
) -> Result<Found, ResponseError> {
    let AnyValue { mut message, .. } = any;
    if message.name() == WRAPPER {
        let inner = message.fields.into_iter().find(|set| set.field.name == "resource");
        let Some(Value::Any(inner)) = inner.map(|set| set.value) else {
            return Err(ResponseError::Rejected("a Resource without a `resource`".to_owned()));
        };
        message = inner.message;
    }
    if message.name() != kind.message() {
        let text = format!("Unable to unpack as {}: it is {}", kind.message(), message.name());
        return Err(ResponseError::Rejected(text));
    }
    let name = match kind {
        Kind::Endpoints => message.peek_text("cluster_name").map(str::to_owned),
        Kind::Listener => name_of(&message),
        Kind::Cluster | Kind::Routes | Kind::Secret => message.peek_text("name").map(str::to_owned),
    };
    let (fingerprint, message) = (digest(&message), Arc::new(message));
    let payload: Payload = message.clone();
    let (source, compile) = (source.clone(), compile.clone());
    let plan = move |known: &Known| {
        compile(&message, known, &source)
            .map_err(|errors| Wrong { line: errors.line(), told: errors.render(&source) })
    };
    let name = name.unwrap_or_default();
    Ok(Found { name, message: payload, fingerprint, plan: Box::new(plan) })
}
