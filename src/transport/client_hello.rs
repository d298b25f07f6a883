//! Owns the bytes of a ClientHello (RFC 8446, 4.1.2): what rustls reads of one, and what it keeps to itself.

use std::borrow::Cow;

use super::Look;

/// A hello as a client says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHello<'a> {
    /// `legacy_version`
    pub(super) version: u16,
    suites: &'a [u8],
    extensions: &'a [u8],
}

/// The message that the first bytes of a connection are.
#[derive(Debug)]
pub(super) struct FirstMessage<'a> {
    message: Cow<'a, [u8]>,
    /// How many bytes that took.
    pub(super) bytes: usize,
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

/// The kind of a record, and of the message in it.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// RFC 8446, 5.1.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// RFC 8446, 4.1.2.
const SESSION_BYTES_MAX: usize = 32;
/// RFC 6066, 3, by way of BoringSSL.
const NAME_BYTES_MAX: usize = 255;
/// BoringSSL's bound for a message of a handshake.
const MESSAGE_BYTES_MAX: usize = 1 << 14;

/// Kinds of extensions.
pub(super) const SERVER_NAME: u16 = 0;
/// `status_request`; RFC 6066, 8.
pub(super) const STATUS_REQUEST: u16 = 5;
/// `supported_groups`
pub(super) const GROUPS: u16 = 10;
/// RFC 8422, 5.1.2.
pub(super) const POINT_FORMATS: u16 = 11;
/// `signature_algorithms`
pub(super) const SIGNATURES: u16 = 13;
/// RFC 7301.
pub(super) const ALPN: u16 = 16;
/// `supported_versions`
pub(super) const VERSIONS: u16 = 43;

// === impl FirstMessage ===

impl<'a> FirstMessage<'a> {
    /// What these bytes begin with; none where that is no hello. It may be in several records.
    ///
    /// Observed: Envoy 1.40 minds neither which minor version its records have, nor that one is empty; nothing may follow in
    /// the last one.
    pub(super) fn look(bytes: &'a [u8]) -> Look<Option<Self>> {
        const NONE: Look<Option<FirstMessage<'_>>> = Look::Seen(None);
        let mut rest = Reader(bytes);
        let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        loop {
            if rest.0.first().is_some_and(|kind| *kind != HANDSHAKE)
                || rest.0.get(1).is_some_and(|major| *major != 3)
            {
                return NONE;
            }
            let head = (rest.number(3), rest.number(2));
            let (Some(_), Some(length)) = head else { return Look::More };
            if length > RECORD_BYTES_MAX {
                return NONE;
            }
            let (record, whole) = match rest.0.split_at_checked(length) {
                Some((record, after)) => {
                    rest = Reader(after);
                    (record, true)
                }
                None => (rest.0, false),
            };
            match message.is_empty() {
                true => message = Cow::Borrowed(record),
                false => message.to_mut().extend_from_slice(record),
            }
            if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
                return NONE;
            }
            if let Some([_, length @ ..]) = message.first_chunk::<4>() {
                let length = length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
                if length > MESSAGE_BYTES_MAX || message.len() > 4 + length {
                    return NONE;
                }
                if whole && message.len() == 4 + length {
                    return Look::Seen(Some(Self { message, bytes: bytes.len() - rest.0.len() }));
                }
            }
            if !whole {
                return Look::More;
            }
        }
    }

    /// What it says, if it can be read to its end.
    ///
    /// Observed: Envoy 1.40 knows SSL 3, and what would be newer than TLS 1.3, for none.
    pub(super) fn hello(&self) -> Option<ClientHello<'_>> {
        let mut body = Reader(self.message.get(4..)?);
        let version = body.small()?;
        body.number(32)?;
        let (session, suites, _compression) = (body.vector(1)?, body.vector(2)?, body.vector(1)?);
        let extensions = if body.0.is_empty() { &[] } else { body.vector(2)? };
        let hello = ClientHello { version, suites, extensions };
        let good = (0x0301..=0x0303).contains(&version) && session.len() <= SESSION_BYTES_MAX;
        let said = !suites.is_empty() && suites.len() % 2 == 0 && body.0.is_empty();
        (good && said && hello.is_sound()).then_some(hello)
    }
}

// === impl ClientHello ===

impl<'a> ClientHello<'a> {
    /// What can be agreed on.
    pub(super) fn suites(&self) -> impl Iterator<Item = u16> + use<'a> {
        numbers(self.suites)
    }

    /// Kinds of extensions and what they say, in the client's order.
    pub(super) fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = Reader(self.extensions);
        std::iter::from_fn(move || Some((rest.small()?, rest.vector(2)?)))
    }

    /// What the extension of this kind says.
    pub(super) fn extension(&self, kind: u16) -> Option<&'a [u8]> {
        self.extensions().find_map(|(known, says)| (known == kind).then_some(says))
    }

    /// Numbers of two bytes, whose length takes this many in front.
    pub(super) fn listed(&self, kind: u16, length: usize) -> impl Iterator<Item = u16> + use<'a> {
        let list = self.extension(kind).and_then(|says| Reader(says).vector(length));
        numbers(list.unwrap_or_default())
    }

    /// The host that is asked for (RFC 6066, 3), in lower case; what no name can have in it, as Envoy 1.40 writes it.
    pub(super) fn server_name(&self) -> Option<String> {
        let name = host_name(self.extension(SERVER_NAME)?)?;
        let letter = |byte: &u8| match byte.to_ascii_lowercase() {
            good @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.') => char::from(good),
            _ => '_',
        };
        let text = name.iter().map(letter).collect::<String>();
        match text.as_bytes().eq_ignore_ascii_case(name) {
            true => Some(text),
            false => Some(format!("invalid:{text}")),
        }
    }

    /// What is offered (ALPN), in the client's order; nothing where that is no list.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let all = self.extension(ALPN).and_then(|says| Reader(says).vector(2)).unwrap_or_default();
        let each = || {
            let mut rest = Reader(all);
            std::iter::from_fn(move || rest.vector(1).filter(|name| !name.is_empty()))
        };
        let sound = each().map(|name| 1 + name.len()).sum::<usize>() == all.len();
        each().filter(move |_| sound)
    }

    /// Extensions that end where they should, each once, and a name that can be read.
    ///
    /// Observed: Envoy 1.40 takes anything else for no hello.
    fn is_sound(&self) -> bool {
        let used = self.extensions().map(|(_, says)| 4 + says.len()).sum::<usize>();
        let mut kinds = self.extensions().map(|(kind, _)| kind).collect::<Vec<_>>();
        let count = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        let named = self.extension(SERVER_NAME).is_none_or(|says| host_name(says).is_some());
        used == self.extensions.len() && kinds.len() == count && named
    }
}

fn host_name(says: &[u8]) -> Option<&[u8]> {
    const HOST_NAME: usize = 0;
    let mut list = Reader(Reader(says).vector(2)?);
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    let good = kind == HOST_NAME && (1..=NAME_BYTES_MAX).contains(&name.len());
    (good && !name.contains(&0)).then_some(name)
}

fn numbers<'a>(of: &'a [u8]) -> impl Iterator<Item = u16> + use<'a> {
    of.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    }

    fn small(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    /// Bytes with their length in front.
    fn vector(&mut self, length: usize) -> Option<&'a [u8]> {
        let length = self.number(length)?;
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}
