//! Owns compiling TLS: contexts for clients and hosts, and the secrets in them.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use rustls::server::ProducesTickets;

use understudy_actors::{
    plan::{Payload, SdsPlan},
    published::Published,
    resources::{ConfigSource, ResourcePlan, Secret as SecretPlan, print_of},
};

use super::Compiler;
use crate::{
    config::{Message, diagnostic::Span, digest::digest},
    tls::{
        Certificate, ClientContext, ClientSettings, KeyLogFile, OcspResponse, Parameters, SanKind,
        SanMatcher, Secret, ServerContext, ServerSettings, SharedTickets, Stapling, TicketKeys,
        TimedTickets, Validation, ValidationError, ValidationSettings, Version,
    },
};

/// Source: `UpstreamTlsContext.max_session_keys`.
const SESSIONS_KEPT: u64 = 1;

/// Where Debian, Alpine and others keep the authorities of the system; Fedora's place.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What both contexts have.
struct Common {
    parameters: Parameters,
    certificates: Vec<Secret<Certificate>>,
    validation: Option<Secret<Validation>>,
    alpn: Vec<Vec<u8>>,
    key_log: Option<Arc<KeyLogFile>>,
}

/// What a `Secret` holds, be it static or brought.
#[derive(Clone, Debug, Default)]
pub(super) struct SecretParts {
    certificate: Option<Arc<Certificate>>,
    trust: Option<Trust>,
    ticket_keys: Option<Arc<TicketKeys>>,
}

/// What a `CertificateValidationContext` holds.
#[derive(Clone, Debug, Default)]
struct Trust {
    /// The secret's; empty for none.
    name: String,
    /// PEM, and where it was read.
    authorities: Option<(Vec<u8>, String)>,
    /// The same.
    revoked: Option<(Vec<u8>, String)>,
    settings: ValidationSettings,
}

impl Compiler<'_> {
    /// `envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`
    pub(super) fn downstream_tls(&mut self, context: &Message) -> Option<ServerContext> {
        let common = self.common_tls(context, Version::Tls13)?;
        if common.certificates.is_empty() {
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
        let tickets = if stateless { tickets(ticket_keys.clone(), lifetime) } else { None };
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
        let kept = context.number("max_session_keys").unwrap_or(SESSIONS_KEPT);
        let server_name = context.text("sni").filter(|name| !name.is_empty());
        if let Some(name) = server_name
            && rustls::pki_types::DnsName::try_from(name).is_err()
        {
            let text = format!("{name:?} is no name that a client may ask for");
            let hint = "write a host name; for an address leave `sni` out";
            self.error(context.at_of("sni"), &context.path_of("sni"), text, hint);
        }
        let settings = ClientSettings {
            key_log: common.key_log,
            parameters: common.parameters,
            certificates: common.certificates,
            validation: common.validation,
            server_name: server_name.map(str::to_owned),
            host_name_is_asked_for: context.boolean("auto_host_sni") == Some(true),
            verifies_server_name: context.boolean("auto_sni_san_validation") == Some(true),
            alpn: common.alpn,
            sessions_kept: usize::try_from(kept).unwrap_or(usize::MAX).min(1 << 16),
        };
        self.told(ClientContext::new(settings), context)
    }

    /// `session_ticket_keys`, or the secret that has them.
    fn ticket_keys(&mut self, context: &Message) -> Option<Secret<TicketKeys>> {
        if let Some(keys) = context.message("session_ticket_keys") {
            return self.read_ticket_keys(keys).map(Secret::fixed);
        }
        let named = context.message("session_ticket_keys_sds_secret_config")?;
        let part = |secret: &SecretParts| secret.ticket_keys.clone();
        match self.brought(named, "session_ticket_keys") {
            Some(published) => {
                Some(Secret::brought(published, move |payload| part(payload.downcast_ref()?)))
            }
            None => self.static_secret(named, part).map(Secret::fixed),
        }
    }

    /// `TlsSessionTicketKeys`
    fn read_ticket_keys(&mut self, keys: &Message) -> Option<Arc<TicketKeys>> {
        let sources = keys.messages("keys").collect::<Vec<_>>();
        let read = sources.into_iter().map(|source| self.data_source(source));
        let read = read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        let hint = "`openssl rand 80 > FILE` makes one";
        let made = TicketKeys::new(&read);
        made.map_err(|error| self.error(keys.at, &keys.path, error.to_string(), hint))
            .ok()
            .map(Arc::new)
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

    /// `key_log`, for all addresses.
    fn key_log(&mut self, common: &Message) -> Option<Arc<KeyLogFile>> {
        let log = common.message("key_log")?;
        log.text("path").map(|path| Arc::new(KeyLogFile::at(PathBuf::from(path))))
    }

    fn told<T>(&mut self, made: Result<T, rustls::Error>, context: &Message) -> Option<T> {
        made.map_err(|error| self.error(context.at, &context.path, error.to_string(), "")).ok()
    }

    /// `CommonTlsContext`
    fn common_tls(&mut self, context: &Message, newest: Version) -> Option<Common> {
        let Some(common) = context.message("common_tls_context") else {
            let parameters = Parameters::new(Version::Tls12, newest, &[], &[]).ok()?;
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
        let alpn = common.texts("alpn_protocols").map(|(name, _)| name.as_bytes().to_vec());
        let alpn = alpn.collect();
        let key_log = self.key_log(common);
        Some(Common { parameters: parameters?, certificates, validation, alpn, key_log })
    }

    /// `TlsParameters`; `newest` is the default of its maximum, which is TLS 1.2 towards hosts.
    fn tls_parameters(&mut self, common: &Message, newest: Version) -> Option<Parameters> {
        let Some(set) = common.message("tls_params") else {
            return Parameters::new(Version::Tls12, newest, &[], &[]).ok();
        };
        let from = self.tls_version(set, "tls_minimum_protocol_version", Version::Tls12)?;
        let to = self.tls_version(set, "tls_maximum_protocol_version", newest)?;
        let list = |name: &str| set.texts(name).map(|(text, _)| text).collect::<Vec<_>>();
        let made = Parameters::new(from, to, &list("cipher_suites"), &list("ecdh_curves"));
        let hint =
            "leave it out of the list; what is left is secure and every client of today has it";
        made.map_err(|error| self.error(set.at, &set.path, error.to_string(), hint)).ok()
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

    /// `TlsCertificate`
    fn tls_certificate(&mut self, certificate: &Message, name: &str) -> Option<Arc<Certificate>> {
        let [chain, key] =
            ["certificate_chain", "private_key"].map(|field| self.secret_text(certificate, field));
        let (chain, key) = (chain?, key?);
        let password = match certificate.message("password") {
            Some(source) => Some(self.data_source(source)?),
            None => None,
        };
        let password = password.as_deref();
        let made = Certificate::new((&chain.0, &chain.1), (&key.0, &key.1), password);
        let staple = match certificate.message("ocsp_staple") {
            Some(source) => Some(self.ocsp_staple(source)?),
            None => None,
        };
        let made = made.and_then(|made| match staple {
            Some(response) => made.with_staple(response),
            None => Ok(made),
        });
        made.map(|made| Arc::new(Certificate { name: name.to_owned(), ..made }))
            .map_err(|error| self.error(certificate.at, &certificate.path, error.to_string(), ""))
            .ok()
    }

    /// `TlsCertificate.ocsp_staple`, DER
    fn ocsp_staple(&mut self, source: &Message) -> Option<OcspResponse> {
        let der = self.data_source(source)?;
        let hint = "`openssl ocsp -respout FILE` writes one";
        let read = OcspResponse::read(&der);
        read.map_err(|error| self.error(source.at, &source.path, error.to_string(), hint)).ok()
    }

    /// A part of a secret that must be there: what it holds, and what it is called.
    fn secret_text(&mut self, secret: &Message, field: &str) -> Option<(Vec<u8>, String)> {
        match secret.message(field) {
            Some(source) => self.named_source(source),
            None => {
                let text = format!("a TLS certificate needs `{field}`");
                self.error(secret.at, &secret.path, text, "");
                None
            }
        }
    }

    /// What a source holds, and its path.
    fn named_source(&mut self, source: &Message) -> Option<(Vec<u8>, String)> {
        let path = source.peek_text("filename").unwrap_or("<inline>").to_owned();
        self.data_source(source).map(|bytes| (bytes, path))
    }

    fn validation_of(&mut self, common: &Message) -> Option<Secret<Validation>> {
        let by_name = "validation_context_sds_secret_config";
        let both = common.message("combined_validation_context");
        let default = both.and_then(|both| both.message("default_validation_context"));
        let own = common.message("validation_context").or(default);
        let named = both.map_or_else(|| common.message(by_name), |both| both.message(by_name));
        let at = own.or(named)?;
        let own = own.map(|own| {
            own.ignore("watched_directory", "it counts for secrets that discovery brings");
            self.trust(own)
        });
        let own = own.unwrap_or_default();
        if let Some(published) = named.and_then(|named| self.brought(named, "validation_context")) {
            self.told_of(own.clone().read(), at)?;
            return Some(Secret::brought(published, move |payload| {
                let parts = payload.downcast_ref::<SecretParts>()?.trust.clone()?;
                // Both were read before: what they hold together can be read as well.
                parts.or(own.clone()).read().ok().map(Arc::new)
            }));
        }
        let parts = match named {
            Some(named) => self.static_secret(named, |secret| secret.trust.clone())?,
            None => Trust::default(),
        };
        self.told_of(parts.or(own).read(), at).map(|made| Secret::fixed(Arc::new(made)))
    }

    fn told_of<T>(&mut self, made: Result<T, ValidationError>, of: &Message) -> Option<T> {
        made.map_err(|error| self.error(of.at, &of.path, error.to_string(), "")).ok()
    }

    /// Where a secret stands that discovery brings; none of one that is static.
    fn brought(
        &mut self,
        named: &Message,
        wants: &'static str,
    ) -> Option<Published<Option<Payload>>> {
        let source = named.message("sds_config").and_then(|source| self.config_source(source))?;
        let name = named.text("name").unwrap_or_default().to_owned();
        let published = self.slots.secrets.of(&source, &name);
        self.sds.push(SdsPlan { source, name, wants });
        Some(published)
    }

    /// A `Secret` that discovery has brought, of which this part is wanted.
    pub(super) fn secret(&mut self, secret: &Message, wants: &str) -> Option<ResourcePlan> {
        let _ = secret.text("name");
        self.files.clear();
        let parts = self.secret_parts(secret);
        let watched = [secret.message("tls_certificate"), secret.message("validation_context")];
        let watched = watched
            .into_iter()
            .flatten()
            .find_map(|part| part.message("watched_directory")?.text("path").map(PathBuf::from));
        if !wants.is_empty() && secret.peek(wants).is_none() {
            let text = format!("this secret is wanted for its `{wants}`, and has none");
            self.error(secret.at, &secret.path, text, "");
        }
        if let Some(trust) = parts.trust.clone() {
            self.told_of(trust.read(), secret)?;
        }
        let files = std::mem::take(&mut self.files).into_iter();
        let files =
            files.map(|(path, held)| (ConfigSource::File { path, watched: watched.clone() }, held));
        let files = files.collect::<Vec<_>>();
        let held = files.iter().map(|(_, held)| held.to_string()).collect::<String>();
        let fingerprint = digest(secret) ^ print_of(held.as_bytes());
        let value: Payload = Arc::new(parts);
        Some(ResourcePlan::Secret(Arc::new(SecretPlan { value, files, fingerprint })))
    }

    /// `CertificateValidationContext`
    fn trust(&mut self, context: &Message) -> Trust {
        let trusted = context.message("trusted_ca").map(|source| self.named_source(source));
        let authorities = match trusted {
            Some(named) => named,
            None if context.message("system_root_certs").is_some() => {
                self.system_authorities(context)
            }
            None => None,
        };
        let revoked = context.message("crl").and_then(|source| self.named_source(source));
        let mut settings = ValidationSettings::default();
        self.validation_settings(context, &mut settings);
        Trust { name: String::new(), authorities, revoked, settings }
    }

    fn system_authorities(&mut self, context: &Message) -> Option<(Vec<u8>, String)> {
        let mut places = SYSTEM_AUTHORITIES.iter();
        let found = places
            .find_map(|path| std::fs::read(path).ok().map(|bytes| (bytes, (*path).to_owned())));
        if found.is_none() {
            let text = format!("no authorities of the system at {}", SYSTEM_AUTHORITIES.join(", "));
            let hint = "install them (Debian: ca-certificates), or write `trusted_ca`";
            let field = "system_root_certs";
            self.error(context.at_of(field), &context.path_of(field), text, hint);
        }
        found
    }

    fn validation_settings(&mut self, context: &Message, into: &mut ValidationSettings) {
        for matcher in context.messages("match_typed_subject_alt_names") {
            into.names.extend(self.san_matcher(matcher));
        }
        for matcher in context.messages("match_subject_alt_names") {
            let exact = matcher.peek_text("exact").map(str::to_owned);
            let made = self.text_matcher(matcher);
            into.names.extend(made.map(|matcher| SanMatcher {
                kind: SanKind::Any,
                matcher,
                exact,
            }));
        }
        for (text, at) in context.texts("verify_certificate_hash") {
            match hash(text) {
                Some(hash) => into.hashes.push(hash),
                None => self.bad_hash(context, at, "Invalid hex-encoded SHA-256", text),
            }
        }
        for (text, at) in context.texts("verify_certificate_spki") {
            let read = crate::base64::read(text).and_then(|bytes| bytes.try_into().ok());
            match read {
                Some(hash) => into.spki.push(hash),
                None => self.bad_hash(context, at, "Invalid base64-encoded SHA-256", text),
            }
        }
        into.accept_untrusted |=
            context.choice("trust_chain_verification") == Some("ACCEPT_UNTRUSTED");
        into.allow_expired |= context.boolean("allow_expired_certificate") == Some(true);
        let depth = context.number_u32("max_verify_depth").map(|depth| depth as usize);
        into.depth_max = depth.or(into.depth_max);
        into.only_leaf_revocation |= context.boolean("only_verify_leaf_cert_crl") == Some(true);
    }

    fn bad_hash(&mut self, context: &Message, at: Span, what: &str, text: &str) {
        self.error(
            at,
            &context.path,
            format!("{what} {text}"),
            "`openssl x509 -fingerprint -sha256`",
        );
    }

    /// `SubjectAltNameMatcher`
    fn san_matcher(&mut self, matcher: &Message) -> Option<SanMatcher> {
        let oid = matcher.text("oid").unwrap_or_default().to_owned();
        let kind = match matcher.choice("san_type") {
            Some("EMAIL") => SanKind::Email,
            Some("DNS") => SanKind::Dns,
            Some("URI") => SanKind::Uri,
            Some("IP_ADDRESS") => SanKind::Ip,
            Some("OTHER_NAME") => SanKind::Other(oid),
            _ => SanKind::Any,
        };
        let text = matcher.message("matcher")?;
        let exact = text.peek_text("exact").map(str::to_owned);
        let matcher = self.text_matcher(text)?;
        Some(SanMatcher { kind, matcher, exact })
    }

    /// `static_resources.secrets`
    pub(super) fn secrets(&mut self, resources: &Message) -> HashMap<String, SecretParts> {
        let mut all = HashMap::new();
        for secret in resources.messages("secrets") {
            let name = secret.text("name").unwrap_or_default().to_owned();
            let parts = [secret.message("tls_certificate"), secret.message("validation_context")];
            for part in parts.into_iter().flatten() {
                part.ignore("watched_directory", "it counts for secrets that discovery brings");
            }
            let made = self.secret_parts(secret);
            if all.insert(name.clone(), made).is_some() {
                let text = format!("Duplicate static secret name {name}");
                self.error(secret.at, &secret.path, text, "give each its own");
            }
        }
        all
    }

    fn secret_parts(&mut self, secret: &Message) -> SecretParts {
        let certificate = secret.message("tls_certificate");
        let name = secret.text("name").unwrap_or_default().to_owned();
        let certificate = certificate.and_then(|one| self.tls_certificate(one, &name));
        let trust = secret.message("validation_context");
        let trust = trust.map(|context| Trust { name, ..self.trust(context) });
        let keys = secret.message("session_ticket_keys");
        let ticket_keys = keys.and_then(|keys| self.read_ticket_keys(keys));
        SecretParts { certificate, trust, ticket_keys }
    }

    /// The part of a static secret that a `SdsSecretConfig` without a source names.
    fn static_secret<T>(
        &mut self,
        named: &Message,
        part: impl FnOnce(&SecretParts) -> Option<T>,
    ) -> Option<T> {
        let name = named.text("name").unwrap_or_default();
        if named.peek("sds_config").is_some() {
            return None;
        }
        let found = self.secrets.get(name).and_then(part);
        if found.is_none() {
            let text = format!("Unknown static secret: {name}");
            let hint =
                "add it to `static_resources.secrets`, or say where it comes from (`sds_config`)";
            self.error(named.at, &named.path, text, hint);
        }
        found
    }
}

/// What makes tickets: of shared keys, or of our own.
fn tickets(
    keys: Option<Secret<TicketKeys>>,
    lifetime: Option<Duration>,
) -> Option<Arc<dyn ProducesTickets>> {
    if let Some(keys) = keys {
        return Some(Arc::new(SharedTickets::new(keys, lifetime)));
    }
    let own = crate::tls::ticketer().ok()?;
    Some(match lifetime {
        Some(lifetime) => Arc::new(TimedTickets::new(own, lifetime)),
        None => own,
    })
}

impl Trust {
    /// What these say, and what others say where these are silent.
    fn or(self, other: Trust) -> Trust {
        Trust {
            name: if self.name.is_empty() { other.name } else { self.name },
            authorities: self.authorities.or(other.authorities),
            revoked: self.revoked.or(other.revoked),
            settings: self.settings.with(other.settings),
        }
    }

    fn read(self) -> Result<Validation, ValidationError> {
        let Trust { name, authorities, revoked, settings } = self;
        let mut made = Validation::new(
            authorities.as_ref().map(|(pem, path)| (&pem[..], path.as_str())),
            revoked.as_ref().map(|(pem, path)| (&pem[..], path.as_str())),
            settings,
        )?;
        made.name = name;
        Ok(made)
    }
}

/// SHA-256 in hexadecimal digits, with colons or without.
fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.chars().filter(|letter| *letter != ':').collect::<String>();
    let mut out = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}
