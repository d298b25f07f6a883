//! Owns addresses: where a listener or a host is, and where a connection comes from.

use std::{
    collections::HashSet,
    fmt,
    net::{AddrParseError, IpAddr, SocketAddr},
    str::FromStr,
    sync::LazyLock,
};

use parking_lot::Mutex;

/// `core.v3.Address`, as far as sockets have one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `socket_address`
    Ip(SocketAddr),
    /// `pipe`
    Pipe(Pipe),
}

/// The path of a unix socket; with `@` in front a name of Linux's abstract namespace.
///
/// Paths are kept for the life of the process, as names of clusters are, so that an address is as cheap to pass on as
/// one of IP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pipe(&'static str);

/// Bytes that the system takes of a path (`sun_path`, unix(7)); the last of a path ends it.
pub const PIPE_BYTES_MAX: usize = 107;

// === impl Address ===

impl Address {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket().map(|address| address.ip())
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.socket().map(|address| address.port())
    }

    /// IP address and port, if it has them.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Pipe(_) => None,
        }
    }

    /// An IPv4 address that came by an IPv6 socket is an IPv4 address.
    pub fn canonical(self) -> Self {
        match self {
            Address::Ip(ip) => SocketAddr::new(ip.ip().to_canonical(), ip.port()).into(),
            pipe @ Address::Pipe(_) => pipe,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Self {
        Address::Ip(address.into())
    }
}

impl FromStr for Address {
    type Err = AddrParseError;

    /// `ip:port`, or a path that the system can take, which begins with `/` or `@`.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let is_path = text.starts_with(['/', '@']);
        match is_path && text.len() <= PIPE_BYTES_MAX && !text.contains('\0') {
            true => Ok(Address::Pipe(Pipe::at(text))),
            false => text.parse().map(Address::Ip),
        }
    }
}

impl fmt::Display for Address {
    /// `ip:port`, or the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Pipe(pipe) => f.write_str(pipe.0),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Pipe ===

impl Pipe {
    /// The pipe of this path.
    pub fn at(path: &str) -> Self {
        static PATHS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
        let mut paths = PATHS.lock();
        let known = paths.get(path).copied();
        Self(known.unwrap_or_else(|| {
            let path: &'static str = Box::leak(path.into());
            paths.insert(path);
            path
        }))
    }

    /// As it is written.
    pub fn path(self) -> &'static str {
        self.0
    }

    /// As the system is told: an abstract name has a zero in front.
    pub fn system_path(self) -> String {
        match self.abstract_name() {
            Some(name) => format!("\0{name}"),
            None => self.0.to_owned(),
        }
    }

    /// The name that is no file's.
    pub fn abstract_name(self) -> Option<&'static str> {
        self.0.strip_prefix('@')
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_pipe_whoever_names_it() {
        let (one, same) = (Pipe::at("/run/a.sock"), Pipe::at(&String::from("/run/a.sock")));
        assert!(std::ptr::eq(one.path(), same.path()));
        assert_ne!(one, Pipe::at("@/run/a.sock"));
        assert_eq!(Pipe::at("@a").system_path(), "\0a");
        let address = Address::Pipe(one);
        assert_eq!(
            (address.ip(), address.port(), address.to_string()),
            (None, None, "/run/a.sock".into())
        );
    }

    #[test]
    fn ipv4_is_ipv4_by_whatever_socket_it_came() {
        let mapped = "[::ffff:1.2.3.4]:5".parse::<Address>().unwrap();
        assert_eq!(mapped.canonical().to_string(), "1.2.3.4:5");
    }
}
