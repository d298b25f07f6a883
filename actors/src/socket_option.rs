//! Owns options of sockets, of those that listen and of those to hosts alike.

use std::{io, time::Duration};

use nix::{
    setsockopt_impl,
    sys::socket::{setsockopt, sockopt::SetStruct},
};
use socket2::{Socket, TcpKeepalive};

/// A `core.v3.SocketOption` that we know how to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SOL_SOCKET`, `SO_REUSEADDR`.
    ReuseAddress(bool),
    /// `SOL_SOCKET`, `SO_SNDBUF`.
    SendBuffer(usize),
    /// `SOL_SOCKET`, `SO_RCVBUF`.
    ReceiveBuffer(usize),
    /// `SOL_SOCKET`, `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `SOL_SOCKET`, `SO_PRIORITY`.
    Priority(u32),
    /// `SOL_SOCKET`, `SO_MARK`.
    Mark(u32),
    /// `SOL_SOCKET`, `SO_BINDTODEVICE`.
    Device(Vec<u8>),
    /// `IPPROTO_TCP`, `TCP_NODELAY`.
    NoDelay(bool),
    /// `IPPROTO_TCP`, `TCP_MAXSEG`.
    MaxSegment(u32),
    /// `IPPROTO_TCP`, `TCP_KEEPIDLE`.
    KeepIdle(Duration),
    /// `IPPROTO_TCP`, `TCP_KEEPINTVL`.
    KeepInterval(Duration),
    /// `IPPROTO_TCP`, `TCP_KEEPCNT`.
    KeepProbes(u32),
    /// `IPPROTO_TCP`, `TCP_USER_TIMEOUT`.
    UserTimeout(Duration),
    /// `IPPROTO_TCP`, `TCP_CONGESTION`.
    Congestion(Vec<u8>),
    /// `IPPROTO_TCP`, `TCP_FASTOPEN`: how many clients may wait whose first packet has data.
    FastOpen(u32),
    /// `IPPROTO_IP`, `IP_TOS`.
    TypeOfService(u32),
    /// `IPPROTO_IP`, `IP_FREEBIND`, and `freebind` of a binding.
    Freebind(bool),
    /// `IPPROTO_IP`, `IP_TRANSPARENT`.
    Transparent(bool),
    /// `IPPROTO_IPV6`, `IPV6_TCLASS`.
    TrafficClass(u32),
}

/// `TCP_FASTOPEN`, which socket2 does not know.
#[derive(Clone, Copy)]
struct FastOpen;

setsockopt_impl!(FastOpen, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, u32, SetStruct<u32>);

// === impl SocketOption ===

impl SocketOption {
    /// An option by the numbers that Linux gives it on x86-64 and ARM; `None` for one that we cannot set.
    pub fn numbered(level: i64, name: i64, int: i64, bytes: Option<&[u8]>) -> Option<Self> {
        let number = u32::try_from(int);
        let seconds = || number.map(|number| Duration::from_secs(number.into()));
        Some(match (level, name) {
            (1, 2) => Self::ReuseAddress(int != 0),
            (1, 7) => Self::SendBuffer(usize::try_from(int).ok()?),
            (1, 8) => Self::ReceiveBuffer(usize::try_from(int).ok()?),
            (1, 9) => Self::KeepAlive(int != 0),
            (1, 12) => Self::Priority(number.ok()?),
            (1, 25) => Self::Device(bytes?.strip_suffix(b"\0").or(bytes)?.to_vec()),
            (1, 36) => Self::Mark(number.ok()?),
            (6, 1) => Self::NoDelay(int != 0),
            (6, 2) => Self::MaxSegment(number.ok()?),
            (6, 4) => Self::KeepIdle(seconds().ok()?),
            (6, 5) => Self::KeepInterval(seconds().ok()?),
            (6, 6) => Self::KeepProbes(number.ok()?),
            (6, 13) => Self::Congestion(bytes?.to_vec()),
            (6, 23) => Self::FastOpen(number.ok()?),
            (6, 18) => Self::UserTimeout(Duration::from_millis(number.ok()?.into())),
            (0, 1) => Self::TypeOfService(number.ok()?),
            (0, 15) => Self::Freebind(int != 0),
            (0, 19) => Self::Transparent(int != 0),
            (41, 67) => Self::TrafficClass(number.ok()?),
            _ => return None,
        })
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set(&self, socket: &Socket) -> io::Result<()> {
        match self {
            SocketOption::ReuseAddress(on) => socket.set_reuse_address(*on),
            SocketOption::SendBuffer(bytes) => socket.set_send_buffer_size(*bytes),
            SocketOption::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(*bytes),
            SocketOption::KeepAlive(on) => socket.set_keepalive(*on),
            SocketOption::Priority(priority) => socket.set_priority(*priority),
            SocketOption::Mark(mark) => socket.set_mark(*mark),
            SocketOption::Device(name) => socket.bind_device(Some(name)),
            SocketOption::NoDelay(on) => socket.set_tcp_nodelay(*on),
            SocketOption::MaxSegment(bytes) => socket.set_tcp_mss(*bytes),
            SocketOption::KeepIdle(time) => {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(*time))
            }
            SocketOption::KeepInterval(time) => {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(*time))
            }
            SocketOption::KeepProbes(count) => {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(*count))
            }
            SocketOption::UserTimeout(time) => socket.set_tcp_user_timeout(Some(*time)),
            SocketOption::Congestion(name) => socket.set_tcp_congestion(name),
            SocketOption::FastOpen(clients) => Ok(setsockopt(socket, FastOpen, clients)?),
            SocketOption::TypeOfService(value) => socket.set_tos_v4(*value),
            SocketOption::Freebind(on) => {
                // A socket of the other family has its own, or none.
                socket.set_freebind_v4(*on).or_else(|_| socket.set_freebind_v6(*on))
            }
            SocketOption::Transparent(on) => socket.set_ip_transparent_v4(*on),
            SocketOption::TrafficClass(value) => socket.set_tclass_v6(*value),
        }
    }
}
