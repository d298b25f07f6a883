//! Owns compiling TLS: contexts for clients and hosts.

mod certificate;
mod secrets;
mod trust;

use std::{path::PathBuf, sync::Arc};

use rustls::server::ProducesTickets;
pub(super) use secrets::SecretParts;

use super::Compiler;
use crate::{
    config::Message,
    tls::{
        Certificate, ClientContext, ClientSettings, KeyLogFile, Parameters, Secret, ServerContext,
        ServerSettings, SharedTickets, Stapling, TicketKeys, Validation, Verified, Version,
    },
};

/// Source: `UpstreamTlsContext.max_session_keys`.
const SESSIONS_KEPT: u64 = 1;

/// RFC 7301, 3.1.
const ALPN_BYTES_MAX: usize = 255;

/// What both contexts have.
struct Common {
    parameters: Parameters,
    certificates: Vec<Secret<Certificate>>,
    validation: Option<Secret<Validation>>,
    alpn: Vec<Vec<u8>>,
    key_log: Option<Arc<KeyLogFile>>,
}

impl Compiler<'_> {
    /// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`
    pub(super) fn downstream_tls(&mut self, context: &Message) -> Option<ServerContext> {
        let told = self.errors.count();
        let common = self.common_tls(context, Version::Tls13)?;
        if common.certificates.is_empty() {
            // Those that cannot be read were told.
            if self.errors.count() > told {
                return None;
            }
            let text = "No TLS certificates found for server context";
            let hint = "add `tls_certificates` to `common_tls_context`";
            self.error(context.at, &context.path, text, hint);
            return None;
        }
        // Observed: Envoy 1.40; its documentation hides the field.
        context.ignore("require_sni", "Envoy 1.40 takes it and does nothing");
        let lifetime = context.duration("session_timeout").filter(|set| !set.is_zero());
        let ticket_keys = self.ticket_keys(context);
        let stateless = context.boolean("disable_stateless_session_resumption") != Some(true);
        let stateful = context.boolean("disable_stateful_session_resumption") != Some(true);
        let tickets = if stateless { tickets(ticket_keys.clone()) } else { None };
        let stapling = self.stapling(context, &common.certificates);
        let settings = ServerSettings {
            parameters: common.parameters,
            certificates: common.certificates,
            validation: common.validation,
            requires_certificate: context.boolean("require_client_certificate") == Some(true),
            alpn: common.alpn,
            tickets,
            ticket_keys: ticket_keys.filter(|_| stateless),
            session_lifetime: lifetime,
            scans_all: context.boolean("full_scan_certs_on_sni_mismatch") == Some(true),
            stapling,
            key_log: common.key_log,
            keeps_sessions: stateful,
            prefers_client_order: context.boolean("prefer_client_ciphers") == Some(true),
        };
        self.told(ServerContext::new(settings), context)
    }

    /// `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`
    pub(super) fn upstream_tls(&mut self, context: &Message) -> Option<ClientContext> {
        let common = self.common_tls(context, Version::Tls12)?;
        if context.boolean("allow_renegotiation") == Some(true) {
            let field = "allow_renegotiation";
            self.unsupported(context.at_of(field), &context.path_of(field), "renegotiation");
        }
        // Observed: Envoy 1.40 enforces it, whatever this says.
        context.ignore("enforce_rsa_key_usage", "what a certificate may be used for is enforced");
        let kept = context.number("max_session_keys").unwrap_or(SESSIONS_KEPT);
        let server_name = context.text("sni").filter(|name| !name.is_empty());
        if let Some(name) = server_name
            && rustls::pki_types::DnsName::try_from(name).is_err()
        {
            let text = format!("{name:?} is no name that a client may ask for");
            let hint = "write a host name; for an address leave `sni` out";
            self.error(context.at_of("sni"), &context.path_of("sni"), text, hint);
        }
        let verifies_server_name = context.boolean("auto_sni_san_validation") == Some(true);
        // Observed: Envoy 1.40. A name proves nothing where whoever likes may certify it.
        let trusts_nobody = match common.validation.as_ref().map(Secret::as_fixed) {
            None => Some("a validation context"),
            Some(Some(trusted)) if trusted.authorities.is_empty() => {
                Some("configuring a trusted CA")
            }
            Some(_) => None,
        };
        if let Some(missing) = trusts_nobody.filter(|_| verifies_server_name) {
            let field = "auto_sni_san_validation";
            let text = format!("'{field}' was configured without {missing}");
            let hint = "add `validation_context` with `trusted_ca`";
            self.error(context.at_of(field), &context.path_of(field), text, hint);
        }
        if common.certificates.len() > 1 {
            let text = "Multiple TLS certificates are not supported for client contexts";
            self.error(context.at, &context.path, text, "leave all but one out");
        }
        let settings = ClientSettings {
            key_log: common.key_log,
            parameters: common.parameters,
            certificates: common.certificates,
            validation: common.validation,
            server_name: server_name.map(str::to_owned),
            host_name_is_asked_for: context.boolean("auto_host_sni") == Some(true),
            server_name_is: match verifies_server_name {
                true => Verified::AsSanMatcher,
                false => Verified::Never,
            },
            alpn: common.alpn,
            sessions_kept: usize::try_from(kept).unwrap_or(usize::MAX).min(1 << 16),
        };
        self.told(ClientContext::new(settings), context)
    }

    /// `ocsp_staple_policy`
    fn stapling(&mut self, context: &Message, certificates: &[Secret<Certificate>]) -> Stapling {
        let field = "ocsp_staple_policy";
        let stapling = match context.choice(field) {
            Some("STRICT_STAPLING") => Stapling::Strict,
            Some("MUST_STAPLE") => Stapling::Must,
            _ => Stapling::Lenient,
        };
        let mut fixed = certificates.iter().filter_map(Secret::as_fixed);
        if stapling == Stapling::Must && fixed.any(|certificate| certificate.staple.is_none()) {
            let text = "Required OCSP response is missing from TLS context";
            let hint = "add `ocsp_staple` to each of its certificates";
            self.error(context.at_of(field), &context.path_of(field), text, hint);
        }
        stapling
    }

    /// `key_log`
    fn key_log(&mut self, common: &Message) -> Option<Arc<KeyLogFile>> {
        let log = common.message("key_log")?;
        let local = self.ranges(log, "local_address_range");
        let remote = self.ranges(log, "remote_address_range");
        let path = PathBuf::from(log.text("path")?);
        Some(Arc::new(KeyLogFile::at(path, local, remote)))
    }

    fn told<T>(&mut self, made: Result<T, rustls::Error>, context: &Message) -> Option<T> {
        made.map_err(|error| self.error(context.at, &context.path, error.to_string(), "")).ok()
    }

    /// `CommonTlsContext`
    fn common_tls(&mut self, context: &Message, newest: Version) -> Option<Common> {
        let Some(common) = context.message("common_tls_context") else {
            let parameters = Parameters::new(Version::Tls12, newest, &[], &[], &[]).ok()?;
            let (certificates, alpn, key_log) = (Vec::new(), Vec::new(), None);
            return Some(Common { parameters, certificates, validation: None, alpn, key_log });
        };
        let parameters = self.tls_parameters(common, newest);
        let mut certificates = Vec::new();
        for certificate in common.messages("tls_certificates") {
            certificate.ignore("watched_directory", "it counts for secrets that discovery brings");
            certificates.extend(self.tls_certificate(certificate, "").map(Secret::fixed));
        }
        for named in common.messages("tls_certificate_sds_secret_configs") {
            let part = |secret: &SecretParts| secret.certificate.clone();
            certificates.extend(match self.brought(named, "tls_certificate") {
                Some(published) => {
                    Some(Secret::brought(published, move |payload| part(payload.downcast_ref()?)))
                }
                None => self.static_secret(named, part).map(Secret::fixed),
            });
        }
        let validation = self.validation_of(common);
        let alpn = self.alpn(common);
        let key_log = self.key_log(common);
        Some(Common { parameters: parameters?, certificates, validation, alpn, key_log })
    }

    /// `alpn_protocols`. Observed: Envoy 1.40 takes a text with commas for several names.
    fn alpn(&mut self, common: &Message) -> Vec<Vec<u8>> {
        let mut alpn = Vec::new();
        for (text, at) in common.texts("alpn_protocols") {
            for name in text.split(',').filter(|name| !name.is_empty()) {
                if name.len() > ALPN_BYTES_MAX {
                    let hint = "a protocol's name has at most 255 bytes (RFC 7301)";
                    self.error(at, &common.path, "Invalid ALPN protocol string", hint);
                }
                alpn.push(name.as_bytes().to_vec());
            }
        }
        alpn
    }

    /// `TlsParameters`; `newest` is the default of its maximum, which is TLS 1.2 towards hosts.
    fn tls_parameters(&mut self, common: &Message, newest: Version) -> Option<Parameters> {
        let Some(set) = common.message("tls_params") else {
            return Parameters::new(Version::Tls12, newest, &[], &[], &[]).ok();
        };
        let from = self.tls_version(set, "tls_minimum_protocol_version", Version::Tls12)?;
        let to = self.tls_version(set, "tls_maximum_protocol_version", newest)?;
        if let Some(made) = self.compliant(set) {
            return made;
        }
        let list = |name: &str| set.texts(name).map(|(text, _)| text).collect::<Vec<_>>();
        let (ciphers, groups) = (list("cipher_suites"), list("ecdh_curves"));
        let made = Parameters::new(from, to, &ciphers, &groups, &list("signature_algorithms"));
        let hint =
            "leave it out of the list; what is left is secure and every client of today has it";
        made.map_err(|error| self.error(set.at, &set.path, error.to_string(), hint)).ok()
    }

    /// `compliance_policies`, of which there is one at most; `None` where there is none.
    fn compliant(&mut self, set: &Message) -> Option<Option<Parameters>> {
        const FIELD: &str = "compliance_policies";
        let policy = *set.choices(FIELD).first()?;
        let overruled = "`compliance_policies` says it all";
        for field in [
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
            "signature_algorithms",
        ] {
            set.ignore(field, overruled);
        }
        if policy != "FIPS_202205" {
            let text =
                format!("the policy {policy} is known to Envoy, and not supported by Understudy");
            let hint = "write FIPS_202205, or what it asks for as `cipher_suites`, `ecdh_curves` and `signature_algorithms`";
            self.error(set.at_of(FIELD), &set.path_of(FIELD), text, hint);
            return Some(None);
        }
        let made = Parameters::fips();
        Some(made.map_err(|error| self.error(set.at, &set.path, error.to_string(), "")).ok())
    }

    fn tls_version(&mut self, set: &Message, field: &str, default: Version) -> Option<Version> {
        match set.choice(field) {
            None | Some("TLS_AUTO") => Some(default),
            Some("TLSv1_2") => Some(Version::Tls12),
            Some("TLSv1_3") => Some(Version::Tls13),
            // A bound below what we speak is none.
            Some(_) if field.contains("minimum") => {
                let text = "TLS 1.0 and 1.1 are known to Envoy, and not supported by Understudy (RFC 8996 forbids them)";
                self.error(set.at_of(field), &set.path_of(field), text, "write TLSv1_2");
                None
            }
            Some(_) => {
                let text =
                    "no version is left: TLS 1.0 and 1.1 are not supported (RFC 8996 forbids them)";
                self.error(set.at_of(field), &set.path_of(field), text, "write TLSv1_2 or TLSv1_3");
                None
            }
        }
    }
}

/// What seals tickets: shared keys, or one of our own.
fn tickets(keys: Option<Secret<TicketKeys>>) -> Option<Arc<dyn ProducesTickets>> {
    match keys {
        Some(keys) => Some(Arc::new(SharedTickets::new(keys))),
        None => crate::tls::ticketer().ok(),
    }
}
