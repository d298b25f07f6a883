//! Owns the compiled options of HTTP/1, for both sides.

use crate::{codec::Keeping, matcher::TextMatcher};

/// `Http1ProtocolOptions`.
#[derive(Clone, Debug)]
pub struct Http1Options {
    /// `accept_http_10`.
    pub accept_http_10: bool,
    /// `default_host_for_http_10`.
    pub default_host_for_http_10: String,
    /// `allow_absolute_url`; Envoy's default is true.
    pub allow_absolute_url: bool,
    /// `enable_trailers`.
    pub enable_trailers: bool,
    /// `header_key_format`.
    pub header_case: HeaderCase,
    /// `allow_chunked_length`.
    pub allow_chunked_length: bool,
    /// `override_stream_error_on_invalid_http_message`: a client goes on after a request that was
    /// refused for what its head says. `None` leaves it to the connection manager.
    pub goes_on_after_bad_request: Option<bool>,
    /// `send_fully_qualified_url`.
    pub fully_qualified_url: bool,
    /// `ignore_http_11_upgrade`.
    pub ignored_upgrades: Vec<TextMatcher>,
}

/// `header_key_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    /// Lower case.
    #[default]
    Lower,
    /// `proper_case_words`.
    Proper,
    /// `stateful_formatter` with `preserve_case`: as the peer has written them.
    Preserve(Keeping),
}

// === impl Http1Options ===

impl Http1Options {
    /// Envoy's defaults.
    pub const fn none() -> Self {
        Self {
            accept_http_10: false,
            default_host_for_http_10: String::new(),
            allow_absolute_url: true,
            enable_trailers: false,
            header_case: HeaderCase::Lower,
            allow_chunked_length: false,
            goes_on_after_bad_request: None,
            fully_qualified_url: false,
            ignored_upgrades: Vec::new(),
        }
    }
}

impl Default for Http1Options {
    fn default() -> Self {
        Self::none()
    }
}

// === impl HeaderCase ===

impl HeaderCase {
    /// What is kept of a head that comes in.
    pub fn keeping(self) -> Option<Keeping> {
        match self {
            Self::Preserve(keeping) => Some(keeping),
            Self::Lower | Self::Proper => None,
        }
    }

    /// How a head is written whose names were not kept.
    pub fn is_proper(self) -> bool {
        self == Self::Proper
    }
}
