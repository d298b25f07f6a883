//! Owns compiling whom a context trusts: `CertificateValidationContext`.

use std::sync::Arc;

use super::{super::Compiler, secrets::SecretParts};
use crate::{
    config::{Message, diagnostic::Span},
    tls::{SanKind, SanMatcher, Secret, Validation, ValidationError, ValidationSettings},
};

/// Where Debian, Alpine and others keep the authorities of the system; Fedora's place.
const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What a `CertificateValidationContext` holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// The secret's; empty for none.
    pub(super) name: String,
    /// PEM, and where it was read.
    pub(super) authorities: Option<(Vec<u8>, String)>,
    /// The same.
    pub(super) revoked: Option<(Vec<u8>, String)>,
    pub(super) settings: ValidationSettings,
}

impl Compiler<'_> {
    pub(super) fn validation_of(&mut self, common: &Message) -> Option<Secret<Validation>> {
        let by_name = "validation_context_sds_secret_config";
        let both = common.message("combined_validation_context");
        let default = both.and_then(|both| both.message("default_validation_context"));
        let own = common.message("validation_context").or(default);
        let named = both.map_or_else(|| common.message(by_name), |both| both.message(by_name));
        let at = own.or(named)?;
        let told = self.errors.count();
        let own = own.map(|own| {
            own.ignore("watched_directory", "it counts for secrets that discovery brings");
            self.trust(own)
        });
        let own = own.unwrap_or_default();
        if let Some(published) = named.and_then(|named| self.brought(named, "validation_context")) {
            self.told_of(own.clone().read(), at)?;
            return Some(Secret::brought(published, move |payload| {
                let parts = payload.downcast_ref::<SecretParts>()?.trust.clone()?;
                // Both were read before. Where nobody is trusted to certify names, nobody is let in.
                parts.or(own.clone()).whole().ok().map(Arc::new)
            }));
        }
        // What cannot be read was told; what follows from it helps nobody.
        if self.errors.count() > told {
            return None;
        }
        let parts = match named {
            Some(named) => self.static_secret(named, |secret| secret.trust.clone())?,
            None => Trust::default(),
        };
        self.told_of(parts.or(own).whole(), at).map(|made| Secret::fixed(Arc::new(made)))
    }

    pub(super) fn told_of<T>(
        &mut self,
        made: Result<T, ValidationError>,
        of: &Message,
    ) -> Option<T> {
        made.map_err(|error| self.error(of.at, &of.path, error.to_string(), "")).ok()
    }

    /// `CertificateValidationContext`
    pub(super) fn trust(&mut self, context: &Message) -> Trust {
        let trusted = context.message("trusted_ca").map(|source| self.named_source(source));
        let authorities = match trusted {
            Some(named) => {
                // Observed: Envoy 1.40.
                context.ignore("system_root_certs", "`trusted_ca` comes first");
                named
            }
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

    pub(super) fn system_authorities(&mut self, context: &Message) -> Option<(Vec<u8>, String)> {
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

    pub(super) fn validation_settings(&mut self, context: &Message, into: &mut ValidationSettings) {
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

    pub(super) fn bad_hash(&mut self, context: &Message, at: Span, what: &str, text: &str) {
        self.error(
            at,
            &context.path,
            format!("{what} {text}"),
            "`openssl x509 -fingerprint -sha256`",
        );
    }

    /// `SubjectAltNameMatcher`
    pub(super) fn san_matcher(&mut self, matcher: &Message) -> Option<SanMatcher> {
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
        let made = self.text_matcher(text)?;
        if let SanKind::Other(oid) = &kind
            && !is_oid(oid)
        {
            let text = format!("Failed to create SAN matcher for OTHER_NAME with OID: {oid}");
            let hint = "write the number of its kind, such as `oid: 1.3.6.1.4.1.311.20.2.3`";
            self.error(matcher.at, &matcher.path, text, hint);
            return None;
        }
        Some(SanMatcher { kind, matcher: made, exact })
    }
}

impl Trust {
    /// What these say, and what others say where these are silent.
    pub(super) fn or(self, other: Trust) -> Trust {
        Trust {
            name: if self.name.is_empty() { other.name } else { self.name },
            authorities: self.authorities.or(other.authorities),
            revoked: self.revoked.or(other.revoked),
            settings: self.settings.with(other.settings),
        }
    }

    /// All that a context trusts. A name proves nothing where whoever likes may certify it: Envoy 1.40 refuses that, too.
    pub(super) fn whole(self) -> Result<Validation, ValidationError> {
        match self.authorities.is_none() && !self.settings.names.is_empty() {
            true => Err(ValidationError::NamesWithoutAuthorities),
            false => self.read(),
        }
    }

    pub(super) fn read(self) -> Result<Validation, ValidationError> {
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

/// Whether this is an object identifier: numbers with dots between them, the first at most 2 (X.660).
fn is_oid(text: &str) -> bool {
    let numbers = text.split('.').map(|number| match number.bytes().all(|b| b.is_ascii_digit()) {
        true => number.parse::<u64>().ok(),
        false => None,
    });
    let numbers = numbers.collect::<Option<Vec<_>>>().unwrap_or_default();
    numbers.len() > 1 && numbers.first().is_some_and(|first| *first <= 2)
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
