//! Owns what a connection manager is told about whom a request is from, and what is said of it.

use ipnet::IpNet;

/// Whose word is taken for who the client is, besides `use_remote_address` and `xff_num_trusted_hops`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// `original_ip_detection_extensions`: the first that finds an address is right.
    pub detectors: Vec<Detector>,
    /// `append_x_forwarded_port`
    pub append_port: bool,
    /// `forward_proto_config`
    pub forward_proto: ForwardProto,
    /// `scheme_header_transformation.scheme_to_overwrite`, whether it is `https`.
    pub scheme_is_https: Option<bool>,
    /// `scheme_header_transformation.match_upstream`
    pub matches_upstream_scheme: bool,
    /// `add_user_agent`
    pub user_agent: Option<UserAgent>,
    /// What is said of clients' certificates.
    pub certificate: ClientCertificate,
    /// `UuidRequestIdConfig.pack_trace_reason`; Envoy's default is true.
    pub pack_trace_reason: bool,
}

/// `ForwardProtoConfig`: which protocol the client spoke to whoever took its connection, by the port that it was meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardProto {
    /// `https_destination_ports`
    pub https: Vec<u16>,
    /// `http_destination_ports`
    pub http: Vec<u16>,
}

/// What `x-forwarded-client-cert` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `forward_client_cert_details`
    pub forward: ForwardClientCert,
    /// `set_current_client_cert_details.subject`
    pub subject: bool,
    /// The same, `cert`.
    pub cert: bool,
    /// The same, `chain`.
    pub chain: bool,
    /// The same, `dns`.
    pub dns: bool,
    /// The same, `uri`.
    pub uri: bool,
}

/// `forward_client_cert_details`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Nothing.
    #[default]
    Sanitize,
    /// What a client with a certificate says.
    ForwardOnly,
    /// The same, and of its own certificate.
    AppendForward,
    /// Of its own certificate alone.
    SanitizeSet,
    /// What any client says.
    AlwaysForwardOnly,
}

/// One of `original_ip_detection_extensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detector {
    /// `x-forwarded-for`, behind so many trusted proxies.
    Hops {
        /// `xff_num_trusted_hops`
        hops: u32,
        /// `skip_xff_append`; Envoy's default is true.
        skip_append: bool,
    },
    /// `x-forwarded-for`, as far as trusted proxies have written it.
    Cidrs {
        /// `xff_trusted_cidrs`
        trusted: Vec<IpNet>,
        /// `skip_xff_append`; Envoy's default is true. It counts only for a trusted peer.
        skip_append: bool,
    },
    /// A header of the operator's choice.
    Header {
        /// `header_name`, in lower case.
        name: String,
        /// `allow_extension_to_set_address_as_trusted`
        trusted: bool,
        /// `reject_with_status`: where no address is found.
        reject_with: Option<u16>,
    },
}

/// What `add_user_agent` adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// `Bootstrap.node.cluster`
    pub cluster: String,
    /// `Bootstrap.node.id`; empty for none.
    pub node: String,
}
