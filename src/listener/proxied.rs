//! Owns what a connection really is where a header, or a redirect, says that it stands for another.

use std::net::IpAddr;

use understudy_actors::address::Address;

use crate::{config::model::listener_filter::KeptTlvs, filter_state::FilterState};

/// A connection that stands for another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxied {
    /// Who has really connected.
    pub peer: Address,
    /// Whereto.
    pub local: Address,
    /// TLVs of its header that may go on to hosts: types and values, in its order.
    pub tlvs: Vec<Tlv>,
    /// What was noted of it, by namespace.
    pub metadata: serde_json::Value,
    /// What was left of it for others.
    pub filter_state: FilterState,
    /// A PROXY header has said so.
    pub by_header: bool,
    /// Where connections to hosts come from for its sake.
    pub source: Option<OriginalSrc>,
}

/// `OriginalSrc`: an address that connections to hosts come from, though it is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalSrc {
    /// The client's.
    pub ip: IpAddr,
    /// `mark`, by which the kernel leads answers back here; 0 for none.
    pub mark: u32,
}

/// One more thing that a header says: its type, and its value.
pub type Tlv = (u8, Box<[u8]>);

// === impl Proxied ===

impl Proxied {
    /// One of which nothing more is known.
    pub fn new(peer: Address, local: Address) -> Self {
        let metadata = serde_json::Value::Null;
        Self {
            peer,
            local,
            tlvs: Vec::new(),
            metadata,
            filter_state: FilterState::default(),
            by_header: false,
            source: None,
        }
    }

    /// Whether the connection was meant to go elsewhere than where it came: a redirect, or a header, says so of one
    /// that goes to `local` now.
    pub fn is_restored(&self, local: Address) -> bool {
        self.local != local
    }

    /// Those of its TLVs that a host is to be told.
    pub fn told<'p>(&'p self, kept: &'p KeptTlvs) -> impl Iterator<Item = &'p Tlv> {
        self.tlvs.iter().filter(|(tlv_type, _)| kept.keeps(*tlv_type))
    }
}
