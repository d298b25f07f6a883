//! Owns compiling runtime layers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json};
use understudy_actors::{
    plan::{LayerPlan, LayerSource},
    runtime::{RuntimeValue, Share},
};

use super::Compiler;
use crate::{
    config::{Message, message::Value},
    numbers::general,
};

impl Compiler<'_> {
    pub(super) fn runtime(&mut self, bootstrap: &Message) -> Vec<LayerPlan> {
        let Some(runtime) = bootstrap.message("layered_runtime") else { return Vec::new() };
        let mut layers: Vec<LayerPlan> = Vec::new();
        for layer in runtime.messages("layers") {
            let name = layer.text("name").unwrap_or_default().to_owned();
            if layers.iter().any(|known| known.name == name) {
                let text = format!("Duplicate layer name: {name}");
                self.error(layer.at_of("name"), &layer.path_of("name"), text, "give each its own");
            }
            let Some(source) = self.layer_source(layer) else { continue };
            let admins = layers.iter().filter(|layer| layer.source == LayerSource::Admin);
            if source == LayerSource::Admin && admins.count() > 0 {
                let text = "Too many admin layers specified in LayeredRuntime, at most one may be specified";
                self.error(layer.at, &layer.path, text, "");
            }
            layers.push(LayerPlan { name, source });
        }
        if runtime.list("layers").is_empty() {
            // Observed: Envoy 1.40. Whoever asks for layers and names none has one for `/runtime_modify`.
            layers.push(LayerPlan { name: String::new(), source: LayerSource::Admin });
        }
        layers
    }

    fn layer_source(&mut self, layer: &Message) -> Option<LayerSource> {
        if let Some(set) = layer.get("static_layer") {
            let mut entries = BTreeMap::new();
            if let Value::Json(Json::Object(values)) = &set.value {
                for (key, value) in values {
                    if let Err(key) = flatten(key, value, &mut entries) {
                        let text = format!("Invalid runtime entry value for {key}");
                        let hint = "a number, a boolean, a text or a map of them is wanted";
                        self.error(set.at, &layer.path_of("static_layer"), text, hint);
                    }
                }
            }
            return Some(LayerSource::Static(entries));
        }
        if let Some(disk) = layer.message("disk_layer") {
            return self.disk_layer(disk);
        }
        // `rtds_layer` is left unread, and so refused.
        layer.get("admin_layer").map(|_| LayerSource::Admin)
    }

    fn disk_layer(&mut self, disk: &Message) -> Option<LayerSource> {
        let text = |name: &str| disk.text(name).unwrap_or_default();
        let root = PathBuf::from(text("symlink_root"));
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mistake = match parent {
            None => Some(format!("invalid file path {}", root.display())),
            Some(parent) if !parent.is_dir() => {
                let path = root.display();
                Some(format!(
                    "unable to add filesystem watch for file {path}: No such file or directory"
                ))
            }
            Some(_) => None,
        };
        let mut folder = root.join(Path::new(text("subdirectory").trim_start_matches('/')));
        if disk.boolean("append_service_cluster").unwrap_or(false) {
            folder.push(&self.node.cluster);
        }
        if let Some(text) = mistake {
            let hint = "a link in a folder that is there, which is swapped by a move";
            self.error(disk.at_of("symlink_root"), &disk.path_of("symlink_root"), text, hint);
            return None;
        }
        Some(LayerSource::Disk { root, folder })
    }
}

/// Nested keys are joined by dots; an empty map, and one that says numerator or denominator, is one value.
/// Gives the key of what is no value.
///
/// Observed: Envoy 1.40 `/runtime` for each kind of YAML value.
fn flatten(
    key: &str,
    value: &Json,
    out: &mut BTreeMap<String, RuntimeValue>,
) -> Result<(), String> {
    let one = match value {
        Json::Object(values) => {
            let is_share =
                ["numerator", "denominator"].iter().any(|name| values.contains_key(*name));
            if !is_share && !values.is_empty() {
                let mut below = values.iter();
                return below
                    .try_for_each(|(name, value)| flatten(&format!("{key}.{name}"), value, out));
            }
            RuntimeValue::of_share(value.to_string(), share(values))
        }
        Json::String(text) => RuntimeValue::of_text(text),
        // Small whole numbers are numbers, printed with six digits; all others came as text.
        Json::Number(number) => {
            let text = general(number.as_f64().unwrap_or_default());
            RuntimeValue { text, ..RuntimeValue::of_text(&number.to_string()) }
        }
        Json::Bool(flag) => RuntimeValue::of_text(&flag.to_string()),
        Json::Null | Json::Array(_) => return Err(key.to_owned()),
    };
    out.insert(key.to_owned(), one);
    Ok(())
}

/// `FractionalPercent`; none where anything in it is wrong.
fn share(values: &Map<String, Json>) -> Option<Share> {
    let mut share = Share { numerator: 0, denominator: 100 };
    for (name, value) in values {
        match (name.as_str(), value) {
            ("numerator", Json::Number(number)) => {
                share.numerator = Share::numerator(number.as_i64()?);
            }
            ("denominator", Json::String(name)) => share.denominator = Share::denominator(name)?,
            ("denominator", Json::Number(number)) => {
                share.denominator = Share::denominator(&number.to_string())?;
            }
            _ => return None,
        }
    }
    Some(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, compile};

    fn layers(yaml: &str) -> Result<Vec<LayerPlan>, String> {
        let source = Source::yaml("t.yaml", yaml);
        let slots = compile::AllSlots::default();
        match compile::load(&source, &compile::Options::default(), &slots) {
            Ok(compiled) => Ok(compiled.plan.runtime),
            Err(errors) => Err(errors.render(&source)),
        }
    }

    #[test]
    fn values_are_printed_and_typed_as_envoy_does() {
        let yaml = r#"
layered_runtime:
  layers:
  - name: base
    static_layer:
      small: 7
      large: 1000000
      larger: 123456789
      huge: 9007199254740993
      real: 1.0
      octal: 010
      flag: yes
      text: " 7 "
      empty: ""
      a: {b: {c: x}}
      share: {numerator: 5, denominator: MILLION}
      odd: {numerator: "5"}
      told: "{numerator: 5}"
      nothing: {}
"#;
        let layers = layers(yaml).unwrap();
        let LayerSource::Static(entries) = &layers[0].source else { panic!() };
        let million = Some(Share { numerator: 5, denominator: 1_000_000 });
        for (key, text, number, share) in [
            ("small", "7", Some(7.0), None),
            ("large", "1e+06", Some(1e6), None),
            ("larger", "1.23457e+08", Some(123_456_789.0), None),
            ("huge", "9007199254740993", Some(9_007_199_254_740_992.0), None),
            ("real", "1.0", Some(1.0), None),
            ("octal", "8", Some(8.0), None),
            ("flag", "true", None, None),
            ("text", " 7 ", Some(7.0), None),
            ("empty", "", None, None),
            ("a.b.c", "x", None, None),
            ("share", r#"{"numerator":5,"denominator":"MILLION"}"#, None, million),
            ("odd", r#"{"numerator":"5"}"#, None, None),
            ("told", "{numerator: 5}", None, None),
            ("nothing", "{}", None, Some(Share { numerator: 0, denominator: 100 })),
        ] {
            let value = &entries[key];
            assert_eq!(
                (value.text.as_str(), value.number, value.share),
                (text, number, share),
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_no_value_and_no_folder_is_refused_in_envoys_words() {
        for (yaml, told) in [
            (
                "layered_runtime: {layers: [{name: a, static_layer: {x: {y: [1]}}}]}",
                "value for x.y",
            ),
            ("layered_runtime: {layers: [{name: a, static_layer: {x: null}}]}", "value for x"),
            (
                "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: a, static_layer: {}}]}",
                "Duplicate layer name: a",
            ),
            (
                "layered_runtime: {layers: [{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]}",
                "Too many admin layers",
            ),
            (
                "layered_runtime: {layers: [{name: a, disk_layer: {symlink_root: cur}}]}",
                "invalid file path cur",
            ),
            (
                "layered_runtime: {layers: [{name: a, disk_layer: {symlink_root: /no/such/cur}}]}",
                "unable to add filesystem watch",
            ),
            ("layered_runtime: {layers: [{name: a, rtds_layer: {name: b}}]}", "rtds_layer"),
        ] {
            let refused = layers(yaml).unwrap_err();
            assert!(refused.contains(told), "{yaml}: {refused}");
        }
        let implied = LayerPlan { name: String::new(), source: LayerSource::Admin };
        assert_eq!(layers("layered_runtime: {}").unwrap(), [implied]);
    }
}
