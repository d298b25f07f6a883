//! Owns `/certs`: the certificates that are shown, and those that are trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Answer, Ask, Desk, json::timestamp};
use crate::{
    config::model::{cluster::Upstream, listener::FilterChains},
    tls::{Certificate, CertificateInfo, Secret, SubjectAltName, Validation},
};

const DAY: i64 = 24 * 60 * 60;

/// `/certs`: one entry for each TLS context of listeners and clusters.
pub(super) fn certs(desk: &Desk, _: &Ask) -> Answer {
    let now = SystemTime::now();
    let entries = contexts(desk).iter().map(|context| context.json(now)).collect::<Vec<_>>();
    Answer::json(&json!({"certificates": entries}))
}

/// What a TLS context shows and trusts.
struct Context {
    certificates: Vec<Secret<Certificate>>,
    validation: Option<Secret<Validation>>,
}

/// Those in force.
fn contexts(desk: &Desk) -> Vec<Context> {
    let mut all = Vec::new();
    for listener in desk.view.listeners.read().iter() {
        let Some(chains) = listener.plan.chains.downcast_ref::<FilterChains>() else { continue };
        all.extend(chains.all().filter_map(|chain| chain.tls.as_ref()).map(|tls| Context {
            certificates: tls.certificates.clone(),
            validation: tls.validation.clone(),
        }));
    }
    for cluster in desk.view.clusters.read().slots.iter().flatten() {
        let snapshot = cluster.read();
        let Some(upstream) = snapshot.plan.upstream.downcast_ref::<Upstream>() else { continue };
        all.extend(upstream.tls.as_ref().map(|tls| Context {
            certificates: tls.settings.certificates.clone(),
            validation: tls.settings.validation.clone(),
        }));
    }
    all
}

// === impl Context ===

impl Context {
    fn json(&self, now: SystemTime) -> Value {
        let trusted = self.validation.iter().filter_map(Secret::read);
        let authorities = trusted.flat_map(|validation| {
            // Observed: Envoy 1.40 lists the first of a file.
            let first = validation.authorities.first();
            first.map(|authority| told(authority, &validation.path, now))
        });
        let shown = self.certificates.iter().filter_map(Secret::read);
        let shown = shown.filter_map(|own| own.leaf().map(|leaf| told(leaf, &own.path, now)));
        json!({
            "ca_cert": authorities.collect::<Vec<_>>(),
            "cert_chain": shown.collect::<Vec<_>>(),
        })
    }
}

/// Source: `admin.v3.CertificateDetails`.
fn told(certificate: &CertificateInfo, path: &str, now: SystemTime) -> Value {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let left = (certificate.not_after - i64::try_from(now).unwrap_or(i64::MAX)).max(0) / DAY;
    json!({
        "path": path,
        "serial_number": certificate.serial,
        "subject_alt_names": certificate.names.iter().filter_map(name).collect::<Vec<_>>(),
        "days_until_expiration": left.to_string(),
        "valid_from": moment(certificate.not_before),
        "expiration_time": moment(certificate.not_after),
    })
}

fn moment(seconds: i64) -> String {
    timestamp(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn name(name: &SubjectAltName) -> Option<Value> {
    match name {
        SubjectAltName::Dns(text) => Some(json!({"dns": text})),
        SubjectAltName::Uri(text) => Some(json!({"uri": text})),
        SubjectAltName::Ip(ip) => Some(json!({"ip_address": ip.to_string()})),
        SubjectAltName::Email(_) | SubjectAltName::Other(..) => None,
    }
}
