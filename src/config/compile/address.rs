//! Owns reading addresses.

use std::net::{IpAddr, SocketAddr};

use super::Compiler;
use crate::config::{Message, diagnostic::Span};

/// An address as a document names it: perhaps by an IP address, perhaps by a name.
pub(super) struct Named {
    pub(super) text: String,
    pub(super) port: u16,
    pub(super) at: Span,
    pub(super) path: String,
}

impl Compiler<'_> {
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
