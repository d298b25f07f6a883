//! `/`: a page of links and forms, Envoy's endpoints as Envoy lays them out, and ours in a section of their
//! own.

use std::fmt::{self, Write as _};

use super::{
    Answer, Ask, Desk, ENDPOINTS, Endpoint, Origin,
    endpoint::{Param, ParamKind},
};

const STYLE: &str = include_str!("home.css");

pub(super) fn home(desk: &Desk, _: &Ask) -> Answer {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = page(&mut out, desk);
    Answer::html(out)
}

fn page(out: &mut String, desk: &Desk) -> fmt::Result {
    open(out, "")?;
    section(out, desk)?;
    open_table(out)?;
    let envoys = ENDPOINTS.iter().filter(|endpoint| endpoint.origin == Origin::Envoy);
    for (index, endpoint) in envoys.filter(|endpoint| endpoint.path != "/").enumerate() {
        // Envoy counts the page itself as the first.
        row(out, index + 2, endpoint)?;
    }
    writeln!(out, "\n    </tbody>\n  </table>\n</body>\n</html>")
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
    open(out, if refresh { "  <meta http-equiv='refresh' content='5'>\n" } else { "" })?;
    open_table(out)?;
    writeln!(
        out,
        "\n<tr><td><form action='stats' method='get' id='stats' class='home-form'></form></td>\
         <td></td></tr>"
    )?;
    let own = ENDPOINTS.iter().find(|endpoint| endpoint.path == "/stats");
    for param in own.map_or(&[][..], |endpoint| endpoint.params) {
        parameter(out, 1, "stats", " class='gray'", param, Some(ask))?;
    }
    let text = escaped(text);
    writeln!(out, "    </tbody>\n  </table>\n<pre>\n{text}</pre>\n</body>\n</html>")
}

fn open(out: &mut String, head: &str) -> fmt::Result {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n  <meta charset='utf-8'>\n  \
         <meta name='viewport' content='width=device-width'>\n{head}  \
         <title>Understudy Admin</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    )
}

fn open_table(out: &mut String) -> fmt::Result {
    writeln!(out, "  <table class='home-table'>\n    <thead>\n      <tr>")?;
    writeln!(out, "        <th class='home-data'>Command</th>")?;
    writeln!(out, "        <th class='home-data'>Description</th>")?;
    writeln!(out, "      </tr>\n    </thead>\n    <tbody>")
}

/// How we are, and what we added.
fn section(out: &mut String, desk: &Desk) -> fmt::Result {
    let state = desk.view.server.read();
    let clusters = desk.view.clusters.read();
    writeln!(out, "<section class='ours'>\n<h1>Understudy</h1>")?;
    let up = state.started.elapsed().unwrap_or_default().as_secs();
    writeln!(out, "<p>{}, up {up} s</p>\n<ul>", state.lifecycle().name())?;
    for listener in desk.view.listeners.read().iter() {
        writeln!(out, "<li>{} on {}</li>", escaped(&listener.plan.name), listener.local)?;
    }
    let mut names: Vec<_> = clusters.by_name.keys().collect();
    names.sort();
    for name in names {
        let Some(cluster) = clusters.named(name) else { continue };
        let cluster = cluster.read();
        let healthy = cluster.hosts.iter().filter(|host| host.healthy()).count();
        writeln!(
            out,
            "<li>{}: {healthy} of {} hosts healthy</li>",
            escaped(name),
            cluster.hosts.len()
        )?;
    }
    writeln!(out, "</ul>\n<p>")?;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.origin == Origin::Ours) {
        let (path, help) = (endpoint.path.trim_start_matches('/'), escaped(endpoint.help));
        match endpoint.action.wants_post() {
            true => writeln!(out, "<br>{path} (POST): {help}")?,
            false => writeln!(out, "<br><a class='ours' href='{path}'>{path}</a>: {help}")?,
        }
    }
    writeln!(out, "</p>\n</section>")
}

fn row(out: &mut String, index: usize, endpoint: &Endpoint) -> fmt::Result {
    let path = endpoint.path.trim_start_matches('/');
    let gray = if index % 2 == 1 { " class='gray'" } else { "" };
    writeln!(out, "\n<tr class='vert-space'><td></td><td></td></tr>\n<tr{gray}>")?;
    let post = endpoint.action.wants_post();
    match (post, endpoint.params.is_empty()) {
        (false, true) => writeln!(out, "  <td class='home-data'><a href='{path}'>{path}</a></td>")?,
        (post, _) => {
            let method = if post { "post" } else { "get" };
            let class = if post { "" } else { " class='button-as-link'" };
            writeln!(
                out,
                "  <td class='home-data'><form action='{path}' method='{method}' id='{path}' \
                 class='home-form'>\n    <button{class}>{path}</button>\n  </form></td>"
            )?;
        }
    }
    writeln!(out, "  <td class='home-data'>{}</td>\n</tr>", escaped(endpoint.help))?;
    for param in endpoint.params {
        parameter(out, index, path, gray, param, None)?;
    }
    Ok(())
}

/// A parameter's row; with what was asked for filled in.
fn parameter(
    out: &mut String,
    index: usize,
    path: &str,
    gray: &str,
    param: &Param,
    ask: Option<&Ask>,
) -> fmt::Result {
    let (name, id) =
        (param.name, format!("param-{index}-{}-{}", path.replace('/', "-"), param.name));
    let given = ask.and_then(|ask| ask.param(name));
    let submit = ask.map_or_else(String::new, |_| format!(" onchange='{path}.submit()'"));
    writeln!(out, "<tr{gray}>")?;
    match param.kind {
        ParamKind::Text => {
            let value =
                given.map_or_else(String::new, |value| format!(" value='{}'", escaped(value)));
            writeln!(
                out,
                "  <td class='option'><input type='text' name='{name}' id='{id}' \
                 form='{path}'{submit}{value} /></td>"
            )?;
        }
        ParamKind::Flag => {
            let checked = if given.is_some() { " checked" } else { "" };
            writeln!(
                out,
                "  <td class='option'><input type='checkbox' name='{name}' id='{id}' \
                 form='{path}'{submit}{checked}></td>"
            )?;
        }
        ParamKind::OneOf(choices) => {
            writeln!(
                out,
                "  <td class='option'>\n    <select name='{name}' id='{id}' \
                 form='{path}'{submit}>"
            )?;
            for choice in choices {
                let selected = if given.unwrap_or("") == *choice { " selected" } else { "" };
                writeln!(out, "      <option value='{choice}'{selected}>{choice}</option>")?;
            }
            writeln!(out, "    </select>\n  </td>")?;
        }
    }
    let help = escaped(param.help);
    writeln!(out, "  <td class='home-data'><label for='{id}'>{help}</label></td>\n</tr>")
}

/// Text inside HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_cannot_break_out_of_the_page() {
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let ask = Ask::new("GET", "/stats?filter=%27%3E%3Cscript%3E", None, peer);
        let page = stats(&ask, "a<b>: 1\n", true);
        assert!(page.contains("value='&#39;&gt;&lt;script&gt;'") && page.contains("a&lt;b&gt;: 1"));
        assert!(page.contains("refresh") && !page.contains("<script"));
    }
}
