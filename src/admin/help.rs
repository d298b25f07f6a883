//! `/help`: Envoy's endpoints exactly as Envoy lists them; with `?ours` those we added.

use std::fmt::Write as _;

use super::{Answer, Ask, Desk, ENDPOINTS, Endpoint, Origin, endpoint::ParamKind};

pub(super) fn help(_: &Desk, ask: &Ask) -> Answer {
    match ask.has("ours") {
        true => Answer::text(listing(Origin::Ours)),
        false => Answer::text(envoys()),
    }
}

/// Envoy's own.
pub(super) fn envoys() -> String {
    listing(Origin::Envoy)
}

fn listing(origin: Origin) -> String {
    let mut out = "admin commands are:\n".to_owned();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.origin == origin) {
        // Writing to a string cannot fail.
        let _ = entry(&mut out, endpoint);
    }
    out
}

fn entry(out: &mut String, endpoint: &Endpoint) -> std::fmt::Result {
    let post = if endpoint.action.wants_post() { " (POST)" } else { "" };
    writeln!(out, "  {}{post}: {}", endpoint.path, endpoint.help)?;
    for param in endpoint.params {
        write!(out, "      {}: {}", param.name, param.help)?;
        match param.kind {
            ParamKind::OneOf(choices) => writeln!(out, "; One of ({})", choices.join(", "))?,
            ParamKind::Text | ParamKind::Flag => writeln!(out)?,
        }
    }
    Ok(())
}
