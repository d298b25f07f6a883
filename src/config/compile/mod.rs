//! Owns the last step from a checked bootstrap to a plan. What the plan cannot honour is refused by name
//! and line: every field that is set and that no compiler has read.

mod access_log;
mod address;
mod admin;
mod aggregate;
mod balancing;
mod chain_matcher;
mod client;
mod cluster;
mod data_source;
mod discovery;
mod dns;
mod filters;
mod format;
mod health_check;
mod http;
mod keepalive;
mod lb_metadata;
pub(super) mod listener;
mod listener_filter;
mod local_reply;
mod logging;
mod matcher;
mod matcher_tree;
mod network;
mod original_dst;
mod outlier;
mod paths;
mod protocol;
mod rbac;
mod resource;
mod route;
mod runtime;
mod socket;
mod stats;
mod subsets;
mod tcp_proxy;
mod tls;
mod upgrades;
mod weighing;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use understudy_actors::{
    plan::{Plan, RdsPlan, ResolverPlan, SdsPlan, Slot, Slots},
    resources::ConfigSource,
    secrets::Secrets,
};

pub use resource::resource;
use tls::SecretParts;

use super::{
    Checked, Message, Source, check,
    diagnostic::{Diagnostics, Span},
    model::{socket::SourceAddress, stats::StatsRules},
};
use crate::logging::Pattern;

/// What the command line says about a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--service-cluster`; overrides `node.cluster`.
    pub service_cluster: Option<String>,
    /// `--service-node`; overrides `node.id`.
    pub service_node: Option<String>,
    /// `--stats-tag`: names and values.
    pub stats_tags: Vec<(String, String)>,
    /// `--service-zone`; overrides `node.locality.zone`.
    pub service_zone: Option<String>,
    /// `--skip-unsupported`: what is not supported and only adds is left out with a warning.
    pub skip_unsupported: bool,
    /// `--log-format` is there, so that the bootstrap may not have one.
    pub log_format_given: bool,
}

/// Names for slots, kept for the life of the process.
#[derive(Debug, Default)]
pub struct AllSlots {
    /// Clusters.
    pub clusters: Slots,
    /// Route tables.
    pub tables: Slots,
    /// Where secrets of discovery stand.
    pub secrets: Arc<Secrets>,
}

/// A configuration that can be put in force.
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// `dynamic_resources.cds_config`
    pub clusters_from: Option<ConfigSource>,
    /// `dynamic_resources.lds_config`
    pub listeners_from: Option<ConfigSource>,
    /// The bootstrap behind it, for `/config_dump`.
    pub bootstrap: Arc<Message>,
    /// Which stats are shown, and how.
    pub stats: StatsRules,
    /// `application_log_config.log_format`.
    pub log_format: Option<Pattern>,
    /// What it says for all resources.
    pub defaults: Defaults,
    /// Warnings and notes.
    pub notes: Diagnostics,
}

/// What a bootstrap says for all resources, those that discovery brings too.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Who we are.
    pub node: Node,
    local_cluster: Option<Slot>,
    outlier_log: Option<PathBuf>,
    source_addresses: Vec<SourceAddress>,
    resolver: Arc<ResolverPlan>,
    secrets: Arc<HashMap<String, SecretParts>>,
}

/// `Bootstrap.node`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `id`
    pub id: String,
    /// `cluster`
    pub cluster: String,
    /// `locality.zone`
    pub zone: String,
    /// `locality.region`
    pub region: String,
    /// `locality.sub_zone`
    pub sub_zone: String,
}

/// Reads, upgrades, checks and compiles a configuration.
///
/// # Errors
///
/// Everything that is wrong with it, at once, in the order of its lines.
pub fn load(source: &Source, options: &Options, slots: &AllSlots) -> Result<Compiled, Diagnostics> {
    let Checked { bootstrap, notes } = check(source)?;
    let mut compiler = Compiler { notes, ..Compiler::new(options, slots) };
    let plan = compiler.bootstrap(&bootstrap);
    let stats = compiler.stats(&bootstrap);
    let log_format = compiler.log_format(&bootstrap);
    let (clusters_from, listeners_from) = compiler.dynamic_resources(&bootstrap);
    compiler.refuse_unread(&bootstrap);
    match compiler.errors.has_errors() {
        true => Err(compiler.errors),
        false => Ok(Compiled {
            plan,
            clusters_from,
            listeners_from,
            bootstrap: Arc::new(bootstrap),
            stats,
            log_format,
            defaults: Defaults {
                node: compiler.node,
                local_cluster: compiler.local_cluster,
                outlier_log: compiler.outlier_log,
                source_addresses: compiler.source_addresses,
                resolver: compiler.resolver,
                secrets: compiler.secrets,
            },
            notes: compiler.notes,
        }),
    }
}

struct Compiler<'o> {
    errors: Diagnostics,
    notes: Diagnostics,
    options: &'o Options,
    slots: &'o AllSlots,
    node: Node,
    /// The cluster that this proxy is one of.
    local_cluster: Option<Slot>,
    /// `cluster_manager.outlier_detection.event_log_path`.
    outlier_log: Option<PathBuf>,
    /// `per_connection_buffer_limit_bytes` of the listener that is being compiled.
    connection_buffer_bytes: usize,
    /// Route tables that the listener that is being compiled subscribes to.
    rds: Vec<RdsPlan>,
    /// Secrets that the listener or the cluster subscribes to.
    sds: Vec<SdsPlan>,
    /// Files that were read, with a number for what they held.
    files: Vec<(PathBuf, u64)>,
    /// What is being compiled was brought by discovery.
    added_via_api: bool,
    /// `ClusterManager.upstream_bind_config`, for clusters that say nothing of their own.
    source_addresses: Vec<SourceAddress>,
    /// `Bootstrap.typed_dns_resolver_config`: for clusters without one of their own.
    resolver: Arc<ResolverPlan>,
    /// `static_resources.secrets`
    secrets: Arc<HashMap<String, SecretParts>>,
}

// === impl Compiler ===

impl<'o> Compiler<'o> {
    fn new(options: &'o Options, slots: &'o AllSlots) -> Self {
        Self {
            errors: Diagnostics::default(),
            notes: Diagnostics::default(),
            options,
            slots,
            node: Node::default(),
            local_cluster: None,
            outlier_log: None,
            connection_buffer_bytes: listener::CONNECTION_BUFFER_BYTES,
            rds: Vec::new(),
            sds: Vec::new(),
            files: Vec::new(),
            added_via_api: false,
            source_addresses: Vec::new(),
            resolver: Arc::default(),
            secrets: Arc::default(),
        }
    }
}

impl Compiler<'_> {
    fn bootstrap(&mut self, bootstrap: &Message) -> Plan {
        self.node = self.node(bootstrap);
        self.outlier_log = self.outlier_log(bootstrap);
        let manager = bootstrap.message("cluster_manager");
        if let Some(binding) = manager.and_then(|m| m.message("upstream_bind_config")) {
            self.source_addresses = self.source_addresses(binding);
        }
        self.resolver = self.resolver(bootstrap);
        let resources = bootstrap.message("static_resources");
        if let Some(resources) = resources {
            self.secrets = Arc::new(self.secrets(resources));
        }
        self.local_cluster = self.local_cluster(bootstrap);
        let clusters = resources.map_or_else(Vec::new, |resources| self.clusters(resources));
        let names = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let (listeners, routes) = match resources {
            Some(resources) => self.listeners(resources, &names),
            None => (Vec::new(), Vec::new()),
        };
        Plan {
            listeners,
            clusters,
            routes,
            assignments: BTreeMap::new(),
            admin: bootstrap.message("admin").and_then(|admin| self.admin(admin)).map(Arc::new),
            runtime: self.runtime(bootstrap),
            stats_flush: stats::flush(bootstrap),
        }
    }

    /// `cluster_manager.local_cluster_name`
    fn local_cluster(&mut self, bootstrap: &Message) -> Option<Slot> {
        let manager = bootstrap.message("cluster_manager")?;
        let name = manager.text("local_cluster_name").filter(|name| !name.is_empty())?;
        let clusters = bootstrap.message("static_resources");
        let mut clusters = clusters.into_iter().flat_map(|all| all.messages("clusters"));
        if !clusters.any(|cluster| cluster.text("name") == Some(name)) {
            let field = "local_cluster_name";
            let text = format!("local cluster '{name}' must be defined");
            self.error(manager.at_of(field), &manager.path_of(field), text, "");
        }
        Some(self.slots.clusters.of(name))
    }

    fn node(&self, bootstrap: &Message) -> Node {
        let node = bootstrap.message("node");
        let text =
            |name: &str| node.and_then(|node| node.text(name)).unwrap_or_default().to_owned();
        let (id, cluster) = (text("id"), text("cluster"));
        let locality = node.and_then(|node| node.message("locality"));
        let place = |name: &str| {
            locality.and_then(|locality| locality.text(name)).unwrap_or_default().to_owned()
        };
        let zone = place("zone");
        if let Some(node) = node {
            node.ignore("metadata", "told to control planes, which do not drive us yet");
            node.ignore("user_agent_name", "told to control planes, which do not drive us yet");
            node.ignore("user_agent_version", "told to control planes, which do not drive us yet");
        }
        Node {
            id: self.options.service_node.clone().unwrap_or(id),
            cluster: self.options.service_cluster.clone().unwrap_or(cluster),
            zone: self.options.service_zone.clone().unwrap_or(zone),
            region: place("region"),
            sub_zone: place("sub_zone"),
        }
    }

    /// Refuses a feature by name, or leaves it out where that was asked for and harms nobody.
    fn unsupported(&mut self, at: Span, path: &str, what: &str) {
        if self.options.skip_unsupported && !restricts(path, what) {
            self.notes.warning(
                at,
                path,
                format!("{what} is left out: it is not supported yet"),
                "",
            );
            return;
        }
        let text = format!("{what} is known to Envoy, and not supported by Understudy yet");
        let hint = match self.options.skip_unsupported {
            true => "left in place: it restricts, authenticates or encrypts",
            false => "remove it, or start with --skip-unsupported",
        };
        self.errors.error(at, path, text, hint);
    }

    fn refuse_unread(&mut self, message: &Message) {
        for unread in message.unread() {
            self.unsupported(unread.at, &unread.path, &format!("`{}`", unread.name));
        }
    }

    fn error(&mut self, at: Span, path: &str, text: impl Into<String>, hint: impl Into<String>) {
        self.errors.error(at, path, text, hint);
    }
}

/// Whether leaving a thing out would open what it closes.
fn restricts(path: &str, what: &str) -> bool {
    const WORDS: [&str; 21] = [
        "auth",
        "rbac",
        "jwt",
        "tls",
        "csrf",
        "cors",
        "limit",
        "secret",
        "transport_socket",
        "filter_chain",
        "headers",
        "query_parameters",
        "cookies",
        "metadata",
        "runtime_fraction",
        "allow_paths",
        "circuit",
        "max_",
        "overload",
        "sni",
        "proxy_protocol",
    ];
    let last = path.rsplit('.').next().unwrap_or(path);
    let (last, what) = (last.to_ascii_lowercase(), what.to_ascii_lowercase());
    WORDS.iter().any(|word| last.contains(word) || what.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "
static_resources:
  clusters:
  - name: a
    type: STATIC
    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]}]}
";

    fn errors(text: &str) -> String {
        let source = Source::yaml("t.yaml", text);
        match load(&source, &Options::default(), &AllSlots::default()) {
            Ok(_) => String::new(),
            Err(errors) => errors.render(&source),
        }
    }

    #[test]
    fn a_dozen_mistakes_are_told_in_one_run_each_with_its_place() {
        let text = r#"
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 99999}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefixx: ingress_http
          codec_type: AUTOMATIC
          route_config:
            virtual_hosts:
            - name: all
              domains: []
              routes:
              - match: {prefx: /}
                route: {clutser: a}
              - match: {path: /x, prefix: /y}
                route: {cluster: a, timeout: 250ms}
  clusters:
  - name: y
    connect_timeout: 5
    type: STRICTDNS
    lb_policy: ROUND_ROBINN
"#;
        let told = errors(text);
        assert_eq!(told.matches("error: ").count(), 12, "{told}");
        for line in [5, 11, 12, 16, 18, 19, 20, 21, 23, 24, 25, 26] {
            assert!(told.contains(&format!("t.yaml:{line}:")), "line {line} in {told}");
        }
        for hint in [
            "did you mean `stat_prefix`?",
            "did you mean `AUTO`?",
            "write 0.25s",
            "write 5s",
            "quote it",
        ] {
            assert!(told.contains(hint), "{hint} in {told}");
        }
    }

    #[test]
    fn what_envoy_knows_and_we_do_not_is_refused_by_name_and_line() {
        let text = format!("{HEAD}    slow_start_config: {{}}\n");
        assert_eq!(errors(HEAD), "");
        // That field belongs to another message: it is unknown here, not unsupported.
        assert!(errors(&text).contains("is not a field of envoy.config.cluster.v3.Cluster"));
        let text = format!("{HEAD}    track_cluster_stats: {{}}\n");
        let told = errors(&text);
        assert!(told.contains("`track_cluster_stats` is known to Envoy"), "{told}");
        assert!(told.contains("t.yaml:7:5"), "{told}");
        let source = Source::yaml("t.yaml", &text);
        let options = Options { skip_unsupported: true, ..Options::default() };
        let compiled = load(&source, &options, &AllSlots::default()).unwrap_or_else(|_| panic!());
        assert!(compiled.notes.render(&source).contains("left out"));
        let tls = format!("{HEAD}    transport_socket: {{name: tls}}\n");
        let source = Source::yaml("t.yaml", &tls);
        assert!(load(&source, &options, &AllSlots::default()).is_err());
    }

    #[test]
    fn rules_that_stand_in_no_schema_are_kept_too() {
        let host = "load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: example.test, port_value: 1}}}}]}]}";
        let named = format!("static_resources: {{clusters: [{{name: a, type: STATIC, {host}}}]}}");
        assert!(errors(&named).contains("STRICT_DNS"), "{}", errors(&named));
        let twice = format!("{HEAD}{}", &HEAD[HEAD.find("  - name").unwrap()..]);
        assert!(errors(&twice).contains("duplicate cluster"), "{}", errors(&twice));
    }

    #[test]
    fn what_re2_refuses_is_told_in_its_words_where_it_stands() {
        let text = r#"
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 1}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {safe_regex: {regex: "/a**"}}
                direct_response: {status: 200}
"#;
        let told = errors(text);
        let words = "`/a**` is not a regular expression of RE2: bad repetition operator: **";
        assert!(told.contains(words) && told.contains("t.yaml:20:"), "{told}");
        assert_eq!(errors(&text.replace("/a**", r"/\\Qa**\\E")), "");
    }
}
