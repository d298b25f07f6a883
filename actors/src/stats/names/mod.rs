//! Owns the names: which stats each kind of scope has, as Envoy 1.40 prints them in `/stats`.

/// `once_written`: not listed before its first value, as Envoy makes these when they are needed.
macro_rules! listed {
    () => {
        $crate::stats::Listed::Always
    };
    (once_written) => {
        $crate::stats::Listed::OnceWritten
    };
}

/// Writes a set of stats once: the enum that code counts with, and the table that readers walk.
macro_rules! stat_set {
    (#[doc = $doc:literal] pub enum $Set:ident { $($Stat:ident = $kind:ident $name:literal $($listed:ident)?,)* }) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $Set {
            $(#[doc = concat!("`", $name, "`")] $Stat,)*
        }

        impl $crate::stats::StatSet for $Set {
            const DEFS: &'static [$crate::stats::Def] =
                &[$($crate::stats::Def { name: $name, kind: $crate::stats::Kind::$kind, listed: listed!($($listed)?) },)*];
            const OFFSETS: &'static [u16] =
                &$crate::stats::group::offsets(&[$($crate::stats::Def { name: $name, kind: $crate::stats::Kind::$kind, listed: listed!($($listed)?) },)*]);

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

mod cluster;
mod discovery;
mod http;
mod listener;
mod process;
mod tls;

pub use cluster::{
    AllHealthChecksStat, AnswerStat, ClusterHttp2Stat, ClusterStat, HealthCheckStat, HostStat,
    MaglevStat, OutlierStat, RingHashStat, VirtualStat,
};
pub use discovery::{
    EdsStat, ListenerDiscoveryStat, RdsStat, ReloadStat, SdsStat, SubscriptionStat,
};
pub use http::{Http1Stat, HttpStat, RouterStat, TcpStat, TracingStat};
pub use listener::{
    ConnectionLimitStat, HttpInspectorStat, ListenerHttpStat, ListenerLocalRatelimitStat,
    ListenerStat, ListenerWorkerStat, LocalRateLimitStat, ProxyProtocolErrorStat,
    ProxyProtocolStat, ProxyProtocolVersionStat, RbacStat, ShadowRbacStat, TlsInspectorStat,
};
pub use process::{
    ClusterManagerStat, DnsStat, FilesystemStat, ListenerManagerStat, RuntimeStat, ServerStat,
    WatchdogStat,
};
pub use tls::{CertificateStat, SslContextStat, SslStat};
