//! Owns what a host of a TCP proxy is told of the client in the header of PROXY protocol.

use std::rc::Rc;

use super::tcp_proxy::Carried;
use crate::{
    config::model::tcp_proxy::{Tlv, TlvMerge, TlvValue},
    format::AccessLogType,
    listener::{self, Proxied},
    upstream::{Current, pool::Sharing, proxy_protocol},
};

impl Carried {
    /// With whom the connection shares a way to a host, where it begins with a header, or comes from elsewhere.
    pub(super) fn sharing(&self, current: &Current) -> Option<Sharing> {
        let told = current.upstream.sockets.greeting.as_ref();
        let source = self.proxied.as_ref().and_then(|proxied| proxied.source);
        if told.is_none() && source.is_none() {
            return None;
        }
        let header = |told| {
            let proxied = self.with_own_tlvs();
            let proxied = proxied.as_ref().or(self.proxied.as_deref());
            Rc::from(proxy_protocol::header(told, self.peer, self.local, proxied))
        };
        Some(Sharing { greeting: told.map(header), source, ..Sharing::default() })
    }

    /// What came with the connection, and what `proxy_protocol_tlvs` says besides; none where that says nothing.
    ///
    /// Observed in Envoy 1.40: without a PROXY header of the client all are told; with one, as the policy says.
    fn with_own_tlvs(&self) -> Option<Proxied> {
        let config = &self.proxy.config;
        if config.tlvs.is_empty() {
            return None;
        }
        let came = self.proxied.as_deref().filter(|proxied| proxied.by_header);
        let Some(came) = came else {
            return Some(Proxied { tlvs: self.own_tlvs(), ..Proxied::new(self.peer, self.local) });
        };
        let tlvs = match config.tlv_merge {
            TlvMerge::AddIfAbsent => return None,
            TlvMerge::Append => [came.tlvs.clone(), self.own_tlvs()].concat(),
            TlvMerge::Overwrite => {
                let mut all = self.own_tlvs();
                let is_ours = |kind: u8| config.tlvs.iter().any(|own| own.tlv_type == kind);
                all.extend(came.tlvs.iter().filter(|(kind, _)| !is_ours(*kind)).cloned());
                all
            }
        };
        Some(Proxied { tlvs, ..came.clone() })
    }

    /// Those of the configuration: fixed values before formats.
    fn own_tlvs(&self) -> Vec<listener::Tlv> {
        let info = self.info(AccessLogType::NotSet, self.started.elapsed());
        let made = |tlv: &Tlv| match &tlv.value {
            TlvValue::Fixed(value) => (tlv.tlv_type, value.clone()),
            TlvValue::Format(format) => {
                let mut value = Vec::new();
                format.write(&mut value, &info);
                (tlv.tlv_type, value.into())
            }
        };
        self.proxy.config.tlvs.iter().map(made).collect()
    }
}
