//! `envoy.filters.http.stateful_session`: a client comes back to the host that answered it first, by a cookie or a
//! header that names that host.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use understudy_actors::plan::Payload;

use super::{Build, Filter, Hooks, Kind, PerRoute, Seen, StreamFilter, Verdict, WantedHost};
use crate::{
    base64,
    codec::{RequestHead, ResponseHead},
    config::{Message, model::cookie::Cookie},
    matcher::cookie,
};

pub(super) static KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    build,
    per_route: Some(PerRoute {
        config: "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        build: per_route,
    }),
};

const COOKIE: &str = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState";
const HEADER: &str = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState";

/// `StatefulSession`.
#[derive(Clone, Debug, Default)]
struct StatefulSession {
    /// None where the filter is off.
    session: Option<Arc<Session>>,
}

#[derive(Debug)]
struct Session {
    carrier: Carrier,
    /// `strict`: where the host is gone, nobody else answers.
    strict: bool,
}

/// What carries the host's address.
#[derive(Debug)]
enum Carrier {
    Cookie(Cookie),
    /// In lower case.
    Header(Vec<u8>),
}

/// One request of a session.
struct Visit {
    session: Option<Arc<Session>>,
    /// The host that the client has named.
    named: Option<String>,
}

fn build(config: &Message, build: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    Some(Arc::new(stateful_session(config, build)?))
}

fn per_route(config: &Message, build: &mut dyn Build) -> Option<Payload> {
    let own = match config.message("stateful_session") {
        Some(own) => stateful_session(own, build)?,
        // `disabled`.
        None => {
            config.boolean("disabled");
            StatefulSession::default()
        }
    };
    Some(Arc::new(own))
}

fn stateful_session(config: &Message, build: &mut dyn Build) -> Option<StatefulSession> {
    let strict = config.boolean("strict").unwrap_or(false);
    let Some(state) = config.message("session_state") else {
        return Some(StatefulSession::default());
    };
    state.ignore("name", "free text; the type decides");
    let Some(typed) = state.any("typed_config").map(|typed| &typed.message) else {
        build.error(state, "typed_config", "`typed_config` is missing", "say which session state");
        return None;
    };
    let carrier = match typed.name() {
        COOKIE => Carrier::Cookie(cookie_of(typed.message("cookie")?)),
        HEADER => Carrier::Header(
            typed.text("name").unwrap_or_default().to_ascii_lowercase().into_bytes(),
        ),
        // Left unread, and so refused.
        _ => return Some(StatefulSession::default()),
    };
    Some(StatefulSession { session: Some(Arc::new(Session { carrier, strict })) })
}

fn cookie_of(cookie: &Message) -> Cookie {
    let text = |message: &Message, name| message.text(name).unwrap_or_default().to_owned();
    let attributes = cookie.messages("attributes");
    Cookie {
        name: text(cookie, "name"),
        ttl: cookie.duration("ttl"),
        path: text(cookie, "path"),
        attributes: attributes.map(|one| (text(one, "name"), text(one, "value"))).collect(),
    }
}

impl Filter for StatefulSession {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST_HEAD.and(Hooks::RESPONSE_HEAD)
    }

    fn stream(&self, route: Option<&Payload>) -> Box<dyn StreamFilter> {
        let own = route.and_then(|route| route.downcast_ref::<StatefulSession>());
        let session = own.unwrap_or(self).session.clone();
        Box::new(Visit { session, named: None })
    }
}

impl StreamFilter for Visit {
    fn on_request_head(&mut self, head: &mut RequestHead, seen: &Seen) -> Verdict {
        self.session.take_if(|session| !session.carrier.is_for(head.path()));
        let Some(session) = &self.session else { return Verdict::Continue };
        self.named = session.carrier.named(head);
        let wanted = self.named.clone();
        seen.want_host(wanted.map(|address| WantedHost { address, strict: session.strict }));
        Verdict::Continue
    }

    /// The client hears of the host, unless it is the one it has named.
    fn on_response_head(&mut self, head: &mut ResponseHead, seen: &Seen) -> Verdict {
        if let Some(session) = &self.session
            && let Some(host) = seen.host()
            && self.named.as_deref() != Some(&*host.address_text)
        {
            session.carrier.name(&host.address_text, head);
        }
        Verdict::Continue
    }
}

// === impl Carrier ===

impl Carrier {
    /// Whether a request to this path is part of the session: a cookie is for its own path alone.
    fn is_for(&self, path: &[u8]) -> bool {
        let Carrier::Cookie(Cookie { path: own, .. }) = self else { return true };
        let Some(rest) = path.strip_prefix(own.as_bytes()) else { return false };
        own.is_empty()
            || own.ends_with('/')
            || matches!(rest.first(), None | Some(b'/' | b'?' | b'#'))
    }

    /// The host that the client names.
    fn named(&self, head: &RequestHead) -> Option<String> {
        match self {
            Carrier::Header(name) => {
                let value = base64::read(std::str::from_utf8(head.value(name)?).ok()?)?;
                String::from_utf8(value).ok().filter(|address| !address.is_empty())
            }
            Carrier::Cookie(own) => {
                let value = cookie(&head.headers, own.name.as_bytes())?;
                let value = base64::read(std::str::from_utf8(value).ok()?)?;
                address_in(&value, SystemTime::now())
            }
        }
    }

    /// Names a host to the client.
    fn name(&self, address: &str, head: &mut ResponseHead) {
        match self {
            Carrier::Header(name) => {
                head.headers.set_name(name, base64::write(address.as_bytes()).as_bytes());
            }
            Carrier::Cookie(own) => {
                let ttl = own.ttl.filter(|ttl| !ttl.is_zero());
                let value = base64::write(&stating(address, ttl, SystemTime::now()));
                head.headers.append_name(b"set-cookie", &own.line(&value));
            }
        }
    }
}

/// A cookie's value, as Envoy writes it: `envoy.Cookie`, with the address (1) and when it ends (2).
fn stating(address: &str, ttl: Option<Duration>, now: SystemTime) -> Vec<u8> {
    let mut out = vec![0x0a];
    put_varint(&mut out, address.len() as u64);
    out.extend_from_slice(address.as_bytes());
    if let Some(ttl) = ttl {
        out.push(0x10);
        put_varint(&mut out, seconds(now) + ttl.as_secs());
    }
    out
}

/// The address that a cookie's value states, if it has not ended; older ones are the address alone.
fn address_in(value: &[u8], now: SystemTime) -> Option<String> {
    let (mut address, mut ends) = (None, 0);
    let mut rest = value;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        match (*tag, take_varint(&mut rest)) {
            (0x0a, Some(length)) => match rest.split_at_checked(usize::try_from(length).ok()?) {
                Some((text, after)) => (address, rest) = (Some(text), after),
                None => return plain(value),
            },
            (0x10, Some(at)) => ends = at,
            _ => return plain(value),
        }
    }
    if ends != 0 && ends < seconds(now) {
        return None;
    }
    plain(address?)
}

fn plain(text: &[u8]) -> Option<String> {
    String::from_utf8(text.to_vec()).ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40.
    #[test]
    fn a_cookie_states_the_address_and_when_it_ends() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_748_414 - 60);
        let plain = stating("127.0.1.3:21100", None, now);
        assert_eq!(base64::write(&plain), "Cg8xMjcuMC4xLjM6MjExMDA=");
        let ends = stating("127.0.1.4:21100", Some(Duration::from_secs(60)), now);
        assert_eq!(address_in(&ends, now), Some("127.0.1.4:21100".to_owned()));
        assert_eq!(address_in(&ends, now + Duration::from_secs(61)), None);
        assert_eq!(
            address_in(&plain, now + Duration::from_secs(1 << 30)).as_deref(),
            Some("127.0.1.3:21100")
        );
        // What older ones wrote, and what nobody did.
        assert_eq!(address_in(b"127.0.1.3:21100", now).as_deref(), Some("127.0.1.3:21100"));
        for nonsense in
            [&b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x0a\x05a", b"\x10"]
        {
            let _ = address_in(nonsense, now);
        }
        assert_eq!(address_in(b"", now), None);
    }

    #[test]
    fn a_cookie_is_for_its_path_alone() {
        for (own, path, is_for) in [
            ("", "/x", true),
            ("/", "/x", true),
            ("/ttl", "/ttl/x", true),
            ("/ttl", "/ttl?q", true),
            ("/ttl", "/ttlx", false),
            ("/ttl/", "/ttl", false),
        ] {
            let cookie = Cookie {
                name: String::new(),
                ttl: None,
                path: own.to_owned(),
                attributes: Vec::new(),
            };
            assert_eq!(Carrier::Cookie(cookie).is_for(path.as_bytes()), is_for, "{own} {path}");
        }
    }
}
