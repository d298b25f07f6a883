//! Owns compiling secrets: static ones, those that discovery brings, and where a context finds either.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use understudy_actors::{
    plan::{Payload, SdsPlan},
    published::Published,
    resources::{ConfigSource, ResourcePlan, Secret as SecretPlan, print_of},
};

use super::{super::Compiler, trust::Trust};
use crate::{
    config::{Message, digest::digest},
    tls::{Certificate, Secret, TicketKeys},
};

/// What a `Secret` holds, be it static or brought.
#[derive(Clone, Debug, Default)]
pub(in crate::config::compile) struct SecretParts {
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) trust: Option<Trust>,
    pub(super) ticket_keys: Option<Arc<TicketKeys>>,
}

impl Compiler<'_> {
    /// `session_ticket_keys`, or the secret that has them.
    pub(super) fn ticket_keys(&mut self, context: &Message) -> Option<Secret<TicketKeys>> {
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
    pub(super) fn read_ticket_keys(&mut self, keys: &Message) -> Option<Arc<TicketKeys>> {
        let sources = keys.messages("keys").collect::<Vec<_>>();
        let read = sources.into_iter().map(|source| self.data_source(source));
        let read = read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        let hint = "`openssl rand 80 > FILE` makes one";
        let made = TicketKeys::new(&read);
        made.map_err(|error| self.error(keys.at, &keys.path, error.to_string(), hint))
            .ok()
            .map(Arc::new)
    }

    /// Where a secret stands that discovery brings; none of one that is static.
    pub(super) fn brought(
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
    pub(in crate::config::compile) fn secret(
        &mut self,
        secret: &Message,
        wants: &str,
    ) -> Option<ResourcePlan> {
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

    /// `static_resources.secrets`
    pub(in crate::config::compile) fn secrets(
        &mut self,
        resources: &Message,
    ) -> HashMap<String, SecretParts> {
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

    pub(super) fn secret_parts(&mut self, secret: &Message) -> SecretParts {
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
    pub(super) fn static_secret<T>(
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
