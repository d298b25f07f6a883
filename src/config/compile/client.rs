//! Owns compiling whose word is taken for who a client is, and what is said of it.

use ipnet::IpNet;

use super::Compiler;
use crate::config::{
    Message,
    message::Value,
    model::{
        client::{
            ClientCertificate, ClientOptions, Detector, ForwardClientCert, ForwardProto, UserAgent,
        },
        http::InternalAddresses,
    },
};

const XFF: &str = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig";

const HEADER: &str =
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig";

const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";

impl Compiler<'_> {
    pub(super) fn client_options(&mut self, manager: &Message) -> ClientOptions {
        let takes_and_drops = "Envoy 1.40 takes it and does nothing";
        manager.ignore("represent_ipv4_remote_address_as_ipv4_mapped_ipv6", takes_and_drops);
        if manager.boolean("add_proxy_protocol_connection_state") == Some(false) {
            let field = "add_proxy_protocol_connection_state";
            let (at, path) = (manager.at_of(field), manager.path_of(field));
            self.unsupported(at, &path, "keeping the client from hosts' PROXY headers");
        }
        let forward_proto = manager.message("forward_proto_config").map(|config| ForwardProto {
            https: self.ports(config, "https_destination_ports"),
            http: self.ports(config, "http_destination_ports"),
        });
        let detectors = self.detectors(manager);
        let transformation = manager.message("scheme_header_transformation");
        let scheme = transformation.and_then(|message| message.text("scheme_to_overwrite"));
        let matches = transformation.and_then(|message| message.boolean("match_upstream"));
        let adds = manager.boolean("add_user_agent").unwrap_or(false);
        ClientOptions {
            detectors,
            append_port: manager.boolean("append_x_forwarded_port").unwrap_or(false),
            forward_proto: forward_proto.unwrap_or_default(),
            scheme_is_https: scheme.map(|scheme| scheme == "https"),
            matches_upstream_scheme: matches.unwrap_or(false),
            user_agent: adds.then(|| UserAgent {
                cluster: self.node.cluster.clone(),
                node: self.node.id.clone(),
            }),
            certificate: client_certificate(manager),
            pack_trace_reason: self.pack_trace_reason(manager),
        }
    }

    /// Numbers that are ports. Envoy takes others as well, which no connection has.
    fn ports(&mut self, config: &Message, field: &str) -> Vec<u16> {
        let mut ports = Vec::new();
        for number in config.numbers(field) {
            match number.try_into() {
                Ok(port) => ports.push(port),
                Err(_) => {
                    let text = format!("{number} is no port: no connection is meant for it");
                    self.notes.warning(config.at_of(field), &config.path_of(field), text, "");
                }
            }
        }
        ports
    }

    pub(super) fn internal_addresses(&mut self, config: &Message) -> InternalAddresses {
        InternalAddresses {
            ranges: self.ranges(config, "cidr_ranges"),
            unix_sockets: config.boolean("unix_sockets").unwrap_or(false),
        }
    }

    fn detectors(&mut self, manager: &Message) -> Vec<Detector> {
        let field = "original_ip_detection_extensions";
        let mut detectors = Vec::new();
        for extension in manager.messages(field) {
            extension.ignore("name", "free text; the type decides");
            let Some(config) = extension.any("typed_config") else {
                let text = "`typed_config` is missing";
                self.error(extension.at, &extension.path, text, "its `@type` says how to detect");
                continue;
            };
            match config.message.name() {
                XFF => detectors.push(self.xff(&config.message)),
                HEADER => detectors.push(custom_header(&config.message)),
                other => self.refuse_whole(&config.message, other),
            }
        }
        let both =
            |name: &str| format!("Original IP detection extensions and {name} may not be mixed");
        let hops = manager.number("xff_num_trusted_hops").unwrap_or(0);
        if !detectors.is_empty() && manager.boolean("use_remote_address") == Some(true) {
            let (at, path) = (manager.at_of(field), manager.path_of(field));
            self.error(at, &path, both("use_remote_address"), "remove one of them");
        } else if !detectors.is_empty() && hops > 0 {
            let (at, path) = (manager.at_of(field), manager.path_of(field));
            let hint = "say `xff_num_trusted_hops` in the extension";
            self.error(at, &path, both("xff_num_trusted_hops"), hint);
        }
        detectors
    }

    fn xff(&mut self, config: &Message) -> Detector {
        let hops = config.number_u32("xff_num_trusted_hops").unwrap_or(0);
        let skip_append = config.boolean("skip_xff_append").unwrap_or(true);
        let Some(cidrs) = config.message("xff_trusted_cidrs") else {
            return Detector::Hops { hops, skip_append };
        };
        if hops > 0 {
            let text = "Cannot set both xff_num_trusted_hops and xff_trusted_cidrs";
            self.error(config.at, &config.path, text, "remove one of them");
        }
        Detector::Cidrs { trusted: self.ranges(cidrs, "cidrs"), skip_append }
    }

    /// A list of `CidrRange`.
    pub(super) fn ranges(&mut self, message: &Message, field: &str) -> Vec<IpNet> {
        message.messages(field).filter_map(|range| self.range(range)).collect()
    }

    /// `CidrRange`; none where an error was told.
    pub(super) fn range(&mut self, range: &Message) -> Option<IpNet> {
        let text = range.text("address_prefix").unwrap_or_default();
        let length = range.number("prefix_len").and_then(|length| u8::try_from(length).ok());
        let parsed = text.parse().ok().and_then(|ip| IpNet::new(ip, length.unwrap_or(0)).ok());
        if parsed.is_none() {
            let text = format!("`{text}` with that length is not an address range");
            self.error(range.at, &range.path, text, "");
        }
        parsed.map(|range| range.trunc())
    }

    fn pack_trace_reason(&mut self, manager: &Message) -> bool {
        let extension = manager.message("request_id_extension");
        extension.and_then(|extension| self.request_id_extension(extension)).unwrap_or(true)
    }

    /// `RequestIDExtension`: whether ids tell why their request is traced; none where it says no type.
    pub(super) fn request_id_extension(&mut self, extension: &Message) -> Option<bool> {
        let config = extension.any("typed_config")?;
        if config.message.name() != UUID {
            self.refuse_whole(&config.message, config.message.name());
            return None;
        }
        let why = "counts only with tracing, which is refused";
        config.message.ignore("use_request_id_for_trace_sampling", why);
        Some(config.message.boolean("pack_trace_reason").unwrap_or(true))
    }
}

fn custom_header(config: &Message) -> Detector {
    let status = config.message("reject_with_status").map(|status| {
        let code = status.get("code").and_then(|set| match set.value {
            Value::Enum(code, _) => u16::try_from(code).ok(),
            _ => None,
        });
        // Observed: Envoy 1.40 rejects with 403 where the status is no error.
        code.filter(|code| *code >= 400).unwrap_or(403)
    });
    Detector::Header {
        name: config.text("header_name").unwrap_or_default().to_ascii_lowercase(),
        trusted: config.boolean("allow_extension_to_set_address_as_trusted").unwrap_or(false),
        reject_with: status,
    }
}

/// `forward_client_cert_details` and what is said of a client's own certificate.
fn client_certificate(manager: &Message) -> ClientCertificate {
    let forward = match manager.choice("forward_client_cert_details") {
        Some("FORWARD_ONLY") => ForwardClientCert::ForwardOnly,
        Some("APPEND_FORWARD") => ForwardClientCert::AppendForward,
        Some("SANITIZE_SET") => ForwardClientCert::SanitizeSet,
        Some("ALWAYS_FORWARD_ONLY") => ForwardClientCert::AlwaysForwardOnly,
        _ => ForwardClientCert::Sanitize,
    };
    let set = manager.message("set_current_client_cert_details");
    let says = |field| set.and_then(|set| set.boolean(field)) == Some(true);
    let [subject, cert, chain] = ["subject", "cert", "chain"].map(says);
    let [dns, uri] = ["dns", "uri"].map(says);
    ClientCertificate { forward, subject, cert, chain, dns, uri }
}
