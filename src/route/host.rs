//! Owns the form of a request's host: without its port or its trailing dot, where that is asked for.

use crate::{
    codec::RequestHead,
    config::model::http::{HostForm, HostPort},
};

/// Takes from the host what is not to be seen; `own_port` is the listener's, if it has one.
///
/// Observed: Envoy 1.40, twelve hosts for each of `strip_matching_host_port`, `strip_any_host_port` and
/// `strip_trailing_host_dot`. What is no number is no port and stays.
pub fn form_host(head: &mut RequestHead, form: HostForm, own_port: Option<u16>) {
    let host = head.authority();
    let (name, port) = split_port(host);
    let strips = match form.port {
        HostPort::Keep => false,
        HostPort::StripOwn => port.is_some() && port == own_port,
        HostPort::StripAny => port.is_some(),
    };
    let name_end = name.len();
    let bare_end =
        if form.strip_trailing_dot && name.ends_with(b".") { name_end - 1 } else { name_end };
    let rest = if strips { &[] } else { &host[name_end..] };
    if bare_end != name_end || strips {
        let formed = [&host[..bare_end], rest].concat();
        head.set_authority(&formed);
    }
}

/// A host before its colon, and its port.
fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let Some(at) = host.iter().rposition(|byte| *byte == b':') else { return (host, None) };
    let digits = std::str::from_utf8(&host[at + 1..]).ok();
    match digits.filter(|digits| !digits.starts_with('+')).and_then(|digits| digits.parse().ok()) {
        Some(port) => (&host[..at], Some(port)),
        None => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_and_its_dot_where_that_is_asked_for() {
        for (port, strip_trailing_dot, cases) in [
            (
                HostPort::StripOwn,
                false,
                &[("a:80", "a"), ("a:81", "a:81"), ("a.:80", "a."), ("[::1]:80", "[::1]")][..],
            ),
            (
                HostPort::StripAny,
                false,
                &[
                    ("a:1", "a"),
                    ("[::1]:1", "[::1]"),
                    ("[::1]", "[::1]"),
                    ("a:", "a:"),
                    ("a:b", "a:b"),
                ],
            ),
            (
                HostPort::Keep,
                true,
                &[("a.", "a"), ("a.:80", "a:80"), (".", ""), ("..", "."), ("a", "a")],
            ),
            (HostPort::StripAny, true, &[("a.:1", "a"), ("a:1", "a"), ("a.", "a")]),
        ] {
            for (host, expected) in cases {
                let mut head = RequestHead::default();
                head.set_authority(host.as_bytes());
                form_host(&mut head, HostForm { port, strip_trailing_dot }, Some(80));
                let got = String::from_utf8_lossy(head.authority());
                assert_eq!(got, *expected, "{host} {port:?} {strip_trailing_dot}");
            }
        }
    }
}
