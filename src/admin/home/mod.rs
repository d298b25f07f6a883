//! `/`: a live overview of ours, then Envoy's endpoints as Envoy lays them out.
//!
//! The script asks `/overview` and shows it; without one the page says the essentials as they were when
//! it was made.

mod policy;
mod table;

use std::{
    fmt::{self, Write as _},
    sync::LazyLock,
};

use super::{Answer, Ask, Desk, ENDPOINTS, Origin, overview::LISTED};
use crate::version;

/// What both pages wear.
const TABLE_STYLE: &str = include_str!("table.css");

const STYLE: &str = concat!(include_str!("table.css"), include_str!("page.css"));

const SCRIPT: &str = concat!(
    include_str!("elements.js"),
    include_str!("tables.js"),
    include_str!("change.js"),
    include_str!("page.js"),
);

/// What the script fills.
const LIVE: &str = include_str!("page.html");

/// The icon stands in the page: nobody need be asked for it.
const ICON: &str = "  <link rel='icon' href=\"data:image/svg+xml,\
    %3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Cpath d='M2 2q6 2 12 0v5q0 6-6 8-6-2-6-8z' fill='%231f56b5'/%3E\
    %3Cpath d='M5 6h2m2 0h2M5 9q3 3 6 0' stroke='%23fff' fill='none'/%3E%3C/svg%3E\">\n";

/// Only what stands in the page runs and is worn, and nobody but the admin port is asked.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        policy::source(SCRIPT),
        policy::source(STYLE)
    )
});

pub(super) fn home(desk: &Desk, ask: &Ask) -> Answer {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = page(&mut out, desk);
    // Whoever reads no HTML is told what Envoy tells: its headers, to the byte.
    Answer { policy: ask.reads_html.then_some(&POLICY), ..Answer::html(out) }
}

fn page(out: &mut String, desk: &Desk) -> fmt::Result {
    open(out, STYLE, "")?;
    top(out, desk)?;
    writeln!(out, "<main>\n<section class='ours' aria-labelledby='overview'>")?;
    writeln!(
        out,
        "<h2 id='overview' class='unseen'>Overview</h2>\n<div id='plain' class='plain'>"
    )?;
    plain(out, desk)?;
    writeln!(out, "</div>\n<div id='live' hidden>\n{LIVE}</div>")?;
    extra(out)?;
    writeln!(out, "</section>\n<script>{SCRIPT}</script>")?;
    writeln!(out, "<section class='commands' aria-labelledby='commands'>")?;
    writeln!(out, "<h2 id='commands'>Commands</h2>")?;
    table::commands(out)?;
    writeln!(out, "</section>\n</main>\n</body>\n</html>")
}

/// `/stats?format=html`: the form with what was asked, and the stats below it. `active-html` asks again
/// by itself.
pub(super) fn stats(ask: &Ask, text: &str, refresh: bool) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = stats_page(&mut out, ask, text, refresh);
    out
}

fn stats_page(out: &mut String, ask: &Ask, text: &str, refresh: bool) -> fmt::Result {
    let head = if refresh { "  <meta http-equiv='refresh' content='5'>\n" } else { "" };
    open(out, TABLE_STYLE, head)?;
    table::stats(out, ask)?;
    let text = escaped(text);
    writeln!(out, "<pre>\n{text}</pre>\n</body>\n</html>")
}

fn open(out: &mut String, style: &str, head: &str) -> fmt::Result {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n  <meta charset='utf-8'>\n  \
         <meta name='viewport' content='width=device-width'>\n{ICON}{head}  \
         <title>Understudy Admin</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )
}

/// Who we are, how we are, and the way to each part.
fn top(out: &mut String, desk: &Desk) -> fmt::Result {
    let state = desk.view.server.read();
    let lifecycle = state.lifecycle().name();
    let live = if lifecycle == "LIVE" { " live" } else { "" };
    let up = state.started.elapsed().unwrap_or_default().as_secs();
    let id = escaped(&desk.facts.node.id);
    writeln!(
        out,
        "<a class='skip' href='#commands'>Skip to the commands</a>\n<header class='top'>"
    )?;
    writeln!(out, "<h1>Understudy</h1>\n<span id='state' class='state{live}'>{lifecycle}</span>")?;
    writeln!(out, "<p class='who grow'><span>{}</span>", version::VERSION)?;
    if !id.is_empty() {
        writeln!(out, "<span>{id}</span>")?;
    }
    writeln!(out, "<span id='up'>up {up} s</span></p>")?;
    writeln!(out, "<p id='reach' class='wrong' role='status'></p>")?;
    writeln!(out, "<button id='pause' type='button' hidden>Pause</button>\n</header>")?;
    writeln!(out, "<nav id='parts' aria-label='On this page' hidden>")?;
    for (part, name) in [
        ("clusters-title", "Clusters"),
        ("runtime-title", "Runtime"),
        ("loggers-title", "Log levels"),
        ("listeners-title", "Listeners"),
        ("actors-title", "Actors"),
        ("commands", "Commands"),
    ] {
        writeln!(out, "<a class='part' href='#{part}'>{name}</a>")?;
    }
    writeln!(out, "</nav>\n<div class='outcome' role='status'><p id='outcome'></p></div>")
}

/// What there is to say without a script.
fn plain(out: &mut String, desk: &Desk) -> fmt::Result {
    let clusters = desk.view.clusters.read();
    writeln!(out, "<ul>")?;
    for listener in desk.view.listeners.read().iter().take(LISTED) {
        writeln!(out, "<li>{} on {}</li>", escaped(&listener.plan.name), listener.local)?;
    }
    let mut names: Vec<_> = clusters.by_name.keys().collect();
    names.sort();
    for name in names.iter().take(LISTED) {
        let Some(cluster) = clusters.named(name) else { continue };
        let cluster = cluster.read();
        let healthy = cluster.hosts.iter().filter(|host| host.healthy()).count();
        let hosts = cluster.hosts.len();
        writeln!(out, "<li>{}: {healthy} of {hosts} hosts healthy</li>", escaped(name))?;
    }
    writeln!(out, "</ul>")
}

/// What we added to Envoy's endpoints.
fn extra(out: &mut String) -> fmt::Result {
    writeln!(out, "<h3>Added by Understudy</h3>\n<ul class='extra'>")?;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.origin == Origin::Ours) {
        let (path, help) = (endpoint.path.trim_start_matches('/'), escaped(endpoint.help));
        match endpoint.action.wants_post() {
            true => writeln!(out, "<li>{path} (POST): {help}</li>")?,
            false => writeln!(out, "<li><a class='ours' href='{path}'>{path}</a>: {help}</li>")?,
        }
    }
    writeln!(out, "</ul>")
}

/// Text inside HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_cannot_break_out_of_the_page() {
        let peer = ([127, 0, 0, 1], 1).into();
        let ask = Ask::new("GET", "/stats?filter=%27%3E%3Cscript%3E", None, peer);
        let page = stats(&ask, "a<b>: 1\n", true);
        assert!(page.contains("value='&#39;&gt;&lt;script&gt;'") && page.contains("a&lt;b&gt;: 1"));
        assert!(page.contains("refresh") && !page.contains("<script"));
    }

    #[test]
    fn the_page_ends_its_own_script_and_asks_nobody_else() {
        for part in [SCRIPT, STYLE] {
            assert!(!part.contains("</") && !part.contains("innerHTML"), "{part}");
        }
        for part in [SCRIPT, STYLE, LIVE, ICON] {
            let outside = part.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("//www") && !outside.contains("http:"), "{part}");
        }
        assert!(POLICY.contains("script-src 'sha256-") && POLICY.is_ascii());
    }
}
