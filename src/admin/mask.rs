//! Owns field masks: which parts of a dump are shown.

use std::fmt;

use serde_json::{Map, Value};

use crate::config::schema::{self, FieldKind};

/// Paths of a mask at most, and names of a path.
const PATHS_MAX: usize = 256;

/// A mask: paths such as `cluster.name`.
pub(super) struct Mask {
    paths: Vec<Vec<String>>,
}

// === impl Mask ===

impl Mask {
    /// Reads `a.b,c`.
    pub(super) fn parse(text: &str) -> Self {
        let paths = text.split(',').filter(|path| !path.is_empty()).take(PATHS_MAX);
        let names = |path: &str| path.split('.').take(PATHS_MAX).map(str::to_owned).collect();
        Self { paths: paths.map(names).collect() }
    }

    /// Whether every path leads somewhere in a message of this name. No path leads through a list;
    /// what an `Any` holds is known only by its value, so every path into it does.
    pub(super) fn fits(&self, message: &str) -> bool {
        self.paths.iter().all(|path| leads(message, path))
    }

    /// What the paths lead to. A type stays with what it is the type of.
    pub(super) fn trim(&self, value: &Value) -> Value {
        let paths: Vec<&[String]> = self.paths.iter().map(Vec::as_slice).collect();
        trim(value, &paths)
    }
}

fn leads(message: &str, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return true;
    };
    let Some(field) = schema::message(message).and_then(|message| message.field(name)) else {
        return false;
    };
    match (&field.kind, rest.is_empty()) {
        // Observed: Envoy 1.40. A path that ends at what is packed leads nowhere.
        (FieldKind::Message("google.protobuf.Any"), true) if !field.repeated => false,
        (_, true) => true,
        (FieldKind::Message("google.protobuf.Any"), false) if !field.repeated => {
            // The dumps hold an `Any` where the name says what is in it.
            match name.as_str() {
                "cluster" => leads("envoy.config.cluster.v3.Cluster", rest),
                "listener" => leads("envoy.config.listener.v3.Listener", rest),
                "route_config" => leads("envoy.config.route.v3.RouteConfiguration", rest),
                "endpoint_config" => leads("envoy.config.endpoint.v3.ClusterLoadAssignment", rest),
                _ => true,
            }
        }
        (FieldKind::Message(inner), false) if !field.repeated => leads(inner, rest),
        _ => false,
    }
}

fn trim(value: &Value, paths: &[&[String]]) -> Value {
    let Value::Object(fields) = value else {
        return value.clone();
    };
    let mut out = Map::new();
    for (name, value) in fields {
        let below: Vec<&[String]> = (paths.iter())
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| *first == name)
            .map(|(_, rest)| rest)
            .collect();
        let kept = match below[..] {
            _ if name == "@type" => Some(value.clone()),
            [] => None,
            _ if below.iter().any(|rest| rest.is_empty()) => Some(value.clone()),
            _ => Some(trim(value, &below)),
        };
        if let Some(kept) = kept {
            out.insert(name.clone(), kept);
        }
    }
    Value::Object(out)
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The debug text of a `FieldMask`, a line for each path.
        f.write_str("\n")?;
        self.paths.iter().try_for_each(|path| writeln!(f, "paths: {:?}", path.join(".")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mask_keeps_what_its_paths_lead_to() {
        let value = json!({
            "cluster": {"@type": "t", "name": "a", "type": "STATIC", "lb": {"x": 1}},
            "last_updated": "now",
        });
        for (mask, kept) in [
            ("cluster.name", json!({"cluster": {"@type": "t", "name": "a"}})),
            ("last_updated", json!({"last_updated": "now"})),
            (
                "cluster.lb.y,cluster.name",
                json!({"cluster": {"@type": "t", "name": "a", "lb": {}}}),
            ),
        ] {
            assert_eq!(Mask::parse(mask).trim(&value), kept, "{mask}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_does_not_fit() {
        let item = "envoy.admin.v3.ClustersConfigDump.StaticCluster";
        for (message, mask, fits) in [
            (item, "cluster.name,last_updated", true),
            (item, "cluster", false),
            (item, "cluster.nosuch", false),
            (item, "nosuch", false),
            (item, "last_updated.x", false),
            ("envoy.admin.v3.BootstrapConfigDump", "bootstrap.node.id", true),
            ("envoy.admin.v3.ClustersConfigDump", "static_clusters", true),
            ("envoy.admin.v3.ClustersConfigDump", "static_clusters.cluster", false),
        ] {
            assert_eq!(Mask::parse(mask).fits(message), fits, "{message} {mask}");
        }
    }
}
