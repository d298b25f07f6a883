//! Owns Envoy's table of endpoints: rows, forms, names and ids as Envoy writes them.

use std::fmt::{self, Write as _};

use super::escaped;
use crate::admin::{
    Ask, ENDPOINTS, Endpoint, Origin,
    endpoint::{Param, ParamKind},
};

/// Every endpoint of Envoy's but the page itself.
pub(super) fn commands(out: &mut String) -> fmt::Result {
    open(out)?;
    let envoys = ENDPOINTS.iter().filter(|endpoint| endpoint.origin == Origin::Envoy);
    for (index, endpoint) in envoys.filter(|endpoint| endpoint.path != "/").enumerate() {
        // Envoy counts the page itself as the first.
        row(out, index + 2, endpoint)?;
    }
    close(out)
}

/// The form of `/stats` with what was asked, which asks again when it is changed.
pub(super) fn stats(out: &mut String, ask: &Ask) -> fmt::Result {
    open(out)?;
    writeln!(
        out,
        "\n<tr><td><form action='stats' method='get' id='stats' class='home-form'></form></td>\
         <td></td></tr>"
    )?;
    let own = ENDPOINTS.iter().find(|endpoint| endpoint.path == "/stats");
    for param in own.map_or(&[][..], |endpoint| endpoint.params) {
        parameter(out, 1, "stats", " class='gray'", param, Some(ask))?;
    }
    close(out)
}

fn open(out: &mut String) -> fmt::Result {
    writeln!(out, "  <table class='home-table'>\n    <thead>\n      <tr>")?;
    writeln!(out, "        <th class='home-data'>Command</th>")?;
    writeln!(out, "        <th class='home-data'>Description</th>")?;
    writeln!(out, "      </tr>\n    </thead>\n    <tbody>")
}

fn close(out: &mut String) -> fmt::Result {
    writeln!(out, "\n    </tbody>\n  </table>")
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
