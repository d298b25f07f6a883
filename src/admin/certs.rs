//! Owns `/certs`: the certificates that are shown, and those that are trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Answer, Ask, Desk, json::timestamp};
use crate::{
    contexts::{Context, contexts, days_until},
    tls::{CertificateInfo, NameKind, OcspResponse, Secret},
};

/// `/certs`: one entry for each TLS context of listeners and clusters.
pub(super) fn certs(desk: &Desk, _: &Ask) -> Answer {
    let now = SystemTime::now();
    let contexts = contexts(&desk.view.plan.read());
    // Observed: Envoy 1.40 has none of a context whose secrets have not come.
    let ready = contexts.iter().filter(|context| context.is_ready());
    let entries = ready.map(|context| entry(context, now)).collect::<Vec<_>>();
    Answer::json(&json!({"certificates": entries}))
}

fn entry(context: &Context, now: SystemTime) -> Value {
    let trusted = context.validation.iter().filter_map(Secret::read);
    let authorities = trusted.flat_map(|validation| {
        let told = |authority| told(authority, &validation.path, now);
        validation.authorities.iter().map(told).collect::<Vec<_>>()
    });
    let shown = context.certificates.iter().filter_map(Secret::read);
    let shown = shown.filter_map(|own| {
        let mut told = told(own.leaf()?, &own.path, now);
        if let Some(staple) = &own.staple {
            told["ocsp_details"] = answer(&staple.response);
        }
        Some(told)
    });
    json!({
        "ca_cert": authorities.collect::<Vec<_>>(),
        "cert_chain": shown.collect::<Vec<_>>(),
    })
}

/// Source: `admin.v3.CertificateDetails`.
fn told(certificate: &CertificateInfo, path: &str, now: SystemTime) -> Value {
    // Observed: Envoy 1.40 lists them by their kind, and no other kinds.
    let of =
        |kind, key: &'static str| certificate.names_of(kind).map(move |name| json!({key: name}));
    let names = of(NameKind::Dns, "dns")
        .chain(of(NameKind::Uri, "uri"))
        .chain(of(NameKind::Ip, "ip_address"));
    json!({
        "path": path,
        "serial_number": certificate.serial,
        "subject_alt_names": names.collect::<Vec<_>>(),
        "days_until_expiration": days_until(certificate.not_after, now).to_string(),
        "valid_from": moment(certificate.not_before),
        "expiration_time": moment(certificate.not_after),
    })
}

/// Source: `admin.v3.CertificateDetails.OcspDetails`.
fn answer(response: &OcspResponse) -> Value {
    let mut told = json!({"valid_from": moment(response.this_update)});
    if let Some(next) = response.next_update {
        told["expiration"] = json!(moment(next));
    }
    told
}

fn moment(seconds: i64) -> String {
    timestamp(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
