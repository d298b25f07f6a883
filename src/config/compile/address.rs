//! Owns reading addresses.

use std::net::{IpAddr, SocketAddr};

use understudy_actors::address::{Address, PIPE_BYTES_MAX, Pipe};

use super::Compiler;
use crate::config::{Message, diagnostic::Span};

/// Where an endpoint is, as a document says it.
pub(super) enum Place {
    Socket(Named),
    Pipe(Pipe),
}

/// An address as a document names it: perhaps by an IP address, perhaps by a name.
pub(super) struct Named {
    pub(super) text: String,
    pub(super) port: u16,
    pub(super) at: Span,
    pub(super) path: String,
}

impl Compiler<'_> {
    /// Reads a `core.v3.Address` that may be a name's, too.
    pub(super) fn place(&mut self, address: &Message) -> Option<Place> {
        match address.message("pipe") {
            Some(pipe) => self.pipe(pipe).map(Place::Pipe),
            None => self.named_address(address).map(Place::Socket),
        }
    }

    /// Reads an address that must be a path or an IP address.
    pub(super) fn address(&mut self, address: &Message) -> Option<Address> {
        match address.message("pipe") {
            Some(pipe) => self.pipe(pipe).map(Address::Pipe),
            None => self.ip_address(address).map(Address::Ip),
        }
    }

    /// Reads a `core.v3.Pipe`.
    fn pipe(&mut self, pipe: &Message) -> Option<Pipe> {
        let path = pipe.text("path").unwrap_or_default();
        let (at, place) = (pipe.at_of("path"), pipe.path_of("path"));
        if path.len() > PIPE_BYTES_MAX {
            let text = format!(
                "{path:?} is longer than the path of a unix socket may be ({PIPE_BYTES_MAX} bytes)"
            );
            self.error(at, &place, text, "take a shorter one, such as below `/run`");
            return None;
        }
        if path.contains('\0') {
            let text = format!("{path:?} has a zero in it");
            self.error(at, &place, text, "an abstract name begins with `@`");
            return None;
        }
        // An empty one was refused by the schema.
        (!path.is_empty()).then(|| Pipe::at(path))
    }

    /// `pipe.mode` of a socket that listens.
    pub(super) fn pipe_mode(&mut self, address: &Message) -> Option<u32> {
        let pipe = address.message("pipe")?;
        let mode = pipe.number_u32("mode").filter(|mode| *mode > 0)?;
        if pipe.text("path").is_some_and(|path| path.starts_with('@')) {
            let text = "an abstract name has no file whose mode could be set";
            self.error(pipe.at_of("mode"), &pipe.path_of("mode"), text, "take `mode` away");
            return None;
        }
        Some(mode)
    }

    /// Reads a `core.v3.Address` of which we take socket addresses.
    pub(super) fn named_address(&mut self, address: &Message) -> Option<Named> {
        let socket = address.message("socket_address")?;
        if socket.choice("protocol") == Some("UDP") {
            self.unsupported(socket.at_of("protocol"), &socket.path_of("protocol"), "UDP");
            return None;
        }
        let port = socket.number("port_value").and_then(|port| u16::try_from(port).ok());
        Some(Named {
            text: socket.text("address")?.to_owned(),
            port: port.unwrap_or(0),
            at: socket.at_of("address"),
            path: socket.path_of("address"),
        })
    }

    /// Reads an address that must be an IP address.
    pub(super) fn ip_address(&mut self, address: &Message) -> Option<SocketAddr> {
        let named = self.named_address(address)?;
        self.ip_of(&named)
    }

    /// The same of one that was read already.
    pub(super) fn ip_of(&mut self, named: &Named) -> Option<SocketAddr> {
        match named.text.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, named.port)),
            Err(_) => {
                let text = format!("`{}` is not an IP address", named.text);
                self.error(named.at, &named.path, text, "no host name can stand here");
                None
            }
        }
    }
}

/// Reads a `core.v3.SocketAddress` that must be an IP address.
pub(super) fn numeric(address: &Message) -> Option<SocketAddr> {
    let ip = address.text("address")?.parse::<IpAddr>().ok()?;
    Some(SocketAddr::new(
        ip,
        address.number("port_value").and_then(|p| p.try_into().ok()).unwrap_or(0),
    ))
}
