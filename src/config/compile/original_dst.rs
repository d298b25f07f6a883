//! Owns compiling `ORIGINAL_DST` clusters: those whose hosts are where requests were meant to go.

use std::time::Duration;

use understudy_actors::plan::Discovery;

use super::Compiler;
use crate::config::{
    Message,
    message::Value,
    model::original_dst::{MetadataKey, OriginalDst},
};

/// The type of `cluster_type`, and its name.
pub(super) const ORIGINAL_DST: &str =
    "envoy.extensions.clusters.original_dst.v3.OriginalDstCluster";
pub(super) const EXTENSION: &str = "envoy.cluster.original_dst";

/// Envoy's `cleanup_interval` default.
const CLEANUP: Duration = Duration::from_secs(5);

/// Envoy's `http_header_name` default.
const HEADER: &str = "x-envoy-original-dst-host";

impl Compiler<'_> {
    /// Hosts that come by themselves, and how long they stay.
    pub(super) fn on_demand(&mut self, cluster: &Message) -> Discovery {
        if let Some(assignment) = cluster.message("load_assignment") {
            cluster.ignore("load_assignment", "it is in error");
            let text = "ORIGINAL_DST clusters must have no load assignment configured";
            let hint = "requests say where they go; `type: STATIC` has hosts";
            self.error(assignment.at, &assignment.path, text, hint);
        }
        match cluster.choice("lb_policy").unwrap_or("ROUND_ROBIN") {
            "CLUSTER_PROVIDED" => self.wants_provided(cluster),
            other => {
                let custom = cluster.message("cluster_type");
                let kind = custom.and_then(|custom| custom.text("name")).unwrap_or("ORIGINAL_DST");
                let text = format!(
                    "cluster: LB policy {other} is not valid for Cluster type {kind}. Only 'CLUSTER_PROVIDED' is \
                     allowed with cluster type 'ORIGINAL_DST'"
                );
                cluster.ignore("cluster_type", "it is in error");
                let (at, path) = (cluster.at_of("lb_policy"), cluster.path_of("lb_policy"));
                self.error(at, &path, text, "write `lb_policy: CLUSTER_PROVIDED`");
            }
        }
        Discovery::OriginalDst { cleanup: cluster.duration("cleanup_interval").unwrap_or(CLEANUP) }
    }

    /// What says where requests to a cluster go, if that is their host.
    ///
    /// Observed: Envoy 1.40 reads `original_dst_lb_config` with `type` alone, and not beside `cluster_type`.
    pub(super) fn original_dst(&mut self, cluster: &Message) -> Option<OriginalDst> {
        let options = match cluster.peek("cluster_type").map(|set| &set.value) {
            Some(Value::Message(custom)) => match custom.any("typed_config") {
                Some(config) if config.message.name() == ORIGINAL_DST => Some(&config.message),
                None if custom.text("name") == Some(EXTENSION) => None,
                _ => return None,
            },
            _ if cluster.choice("type") == Some("ORIGINAL_DST") => {
                cluster.message("original_dst_lb_config")
            }
            _ => return None,
        };
        let Some(options) = options else { return Some(OriginalDst::default()) };
        let name = options.text("http_header_name").filter(|name| !name.is_empty());
        let used = options.boolean("use_http_header") == Some(true);
        if let Some(name) = name.filter(|_| !used) {
            let text = format!(
                "ORIGINAL_DST cluster: invalid config http_header_name={name} and use_http_header is false. Set \
                 use_http_header to true if http_header_name is desired."
            );
            let field = "http_header_name";
            let hint = "write `use_http_header: true` beside it";
            self.error(options.at_of(field), &options.path_of(field), text, hint);
        }
        let header = used.then(|| name.unwrap_or(HEADER).to_ascii_lowercase().into_bytes());
        let port = options.number_u32("upstream_port_override");
        Some(OriginalDst {
            metadata: options.message("metadata_key").map(metadata_key),
            header,
            port: port.and_then(|port| u16::try_from(port).ok()),
        })
    }
}

fn metadata_key(key: &Message) -> MetadataKey {
    let path = key.messages("path").filter_map(|segment| segment.text("key"));
    MetadataKey {
        key: key.text("key").unwrap_or_default().to_owned(),
        path: path.map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Source,
        compile::{AllSlots, Options, load},
        model::cluster::Upstream,
    };

    /// What becomes of a cluster with these fields: how long its hosts stay, and what says where they are.
    fn compiled(fields: &str) -> Result<(Duration, OriginalDst), String> {
        let text = format!("static_resources: {{clusters: [{{name: a, {fields}}}]}}\n");
        let source = Source::yaml("t.yaml", &text);
        let loaded = load(&source, &Options::default(), &AllSlots::default());
        let loaded = loaded.map_err(|errors| errors.render(&source))?;
        let cluster = &loaded.plan.clusters[0];
        let Discovery::OriginalDst { cleanup } = cluster.discovery else { panic!("{fields}") };
        assert!(cluster.ignore_health_on_host_removal);
        let upstream = cluster.upstream.downcast_ref::<Upstream>().unwrap();
        Ok((cleanup, upstream.balancing.policy.original_dst().unwrap().clone()))
    }

    fn typed(fields: &str) -> String {
        format!(
            "lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: x, typed_config: {{\"@type\": type.googleapis.com/{ORIGINAL_DST}{fields}}}}}"
        )
    }

    const USUAL: &str = "type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED";

    #[test]
    fn a_cluster_says_where_its_hosts_are_by_type_or_by_cluster_type() {
        let by_header = |name: &str| OriginalDst {
            header: Some(name.as_bytes().to_vec()),
            ..OriginalDst::default()
        };
        for (fields, says) in [
            (USUAL.to_owned(), OriginalDst::default()),
            (
                format!("{USUAL}, original_dst_lb_config: {{use_http_header: true}}"),
                by_header("x-envoy-original-dst-host"),
            ),
            (
                format!(
                    "{USUAL}, original_dst_lb_config: {{use_http_header: true, http_header_name: X-To}}"
                ),
                by_header("x-to"),
            ),
            (
                format!(
                    "{USUAL}, original_dst_lb_config: {{upstream_port_override: 81, metadata_key: {{key: ns, path: [{{key: a}}, {{key: b}}]}}}}"
                ),
                OriginalDst {
                    port: Some(81),
                    metadata: Some(MetadataKey {
                        key: "ns".to_owned(),
                        path: vec!["a".to_owned(), "b".to_owned()],
                    }),
                    header: None,
                },
            ),
            (typed(""), OriginalDst::default()),
            (typed(", use_http_header: true"), by_header("x-envoy-original-dst-host")),
            // The other field says nothing there.
            (
                format!("{}, original_dst_lb_config: {{use_http_header: true}}", typed("")),
                OriginalDst::default(),
            ),
            (
                format!("lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: {EXTENSION}}}"),
                OriginalDst::default(),
            ),
        ] {
            assert_eq!(compiled(&fields), Ok((CLEANUP, says)), "{fields}");
        }
        let (cleanup, _) = compiled(&format!("{USUAL}, cleanup_interval: 1.5s")).unwrap();
        assert_eq!(cleanup, Duration::from_millis(1500));
    }

    /// Observed: Envoy 1.40, `--mode validate` of each.
    #[test]
    fn what_envoy_refuses_of_such_a_cluster_is_refused() {
        const RANDOM: &str = "load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: \
            {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}";
        for (fields, told) in [
            (
                "type: ORIGINAL_DST".to_owned(),
                "LB policy ROUND_ROBIN is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed",
            ),
            (
                "type: ORIGINAL_DST, lb_policy: MAGLEV".to_owned(),
                "LB policy MAGLEV is not valid for Cluster type ORIGINAL_DST",
            ),
            (
                typed(", use_http_header: true").replace("CLUSTER_PROVIDED", "RANDOM"),
                "LB policy RANDOM is not valid for Cluster type x.",
            ),
            (
                format!("{USUAL}, {RANDOM}"),
                "cluster provided LB not specified but cluster 'a' provided one",
            ),
            (
                format!("{USUAL}, load_assignment: {{cluster_name: a}}"),
                "ORIGINAL_DST clusters must have no load assignment configured",
            ),
            (
                format!("{USUAL}, original_dst_lb_config: {{http_header_name: X-To}}"),
                "invalid config http_header_name=X-To and use_http_header is false",
            ),
            (typed(", http_header_name: X-To"), "invalid config http_header_name=X-To"),
            (
                format!("{USUAL}, lb_subset_config: {{subset_selectors: [{{keys: [a]}}]}}"),
                "CLUSTER_PROVIDED cannot be combined with lb_subset_config",
            ),
            (
                format!(
                    "{USUAL}, common_lb_config: {{consistent_hashing_lb_config: {{use_hostname_for_hashing: true}}}}"
                ),
                "for cluster of type: 'envoy.cluster.original_dst'",
            ),
        ] {
            let errors = compiled(&fields).unwrap_err();
            assert!(errors.contains(told), "{fields}: {errors}");
            assert_eq!(errors.matches("error: ").count(), 1, "{fields}: {errors}");
        }
    }
}
