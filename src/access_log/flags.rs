//! Owns `%RESPONSE_FLAGS%`: why an answer is not what the upstream said.

/// Writes the list once.
macro_rules! flags {
    ($($Flag:ident = $short:literal $long:literal,)*) => {
        /// One reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ResponseFlag {
            $(#[doc = concat!("`", $short, "`, ", $long)] $Flag,)*
        }

        impl ResponseFlag {
            /// All reasons, in the order they are printed.
            pub const ALL: &'static [ResponseFlag] = &[$(ResponseFlag::$Flag,)*];

            /// As `%RESPONSE_FLAGS%` has it.
            pub fn short(self) -> &'static str {
                match self {
                    $(ResponseFlag::$Flag => $short,)*
                }
            }

            /// As `%RESPONSE_FLAGS_LONG%` has it.
            pub fn long(self) -> &'static str {
                match self {
                    $(ResponseFlag::$Flag => $long,)*
                }
            }
        }
    };
}

flags! {
    UpstreamRetryLimitExceeded = "URX" "UpstreamRetryLimitExceeded",
    UpstreamOverflow = "UO" "UpstreamOverflow",
    FailedLocalHealthCheck = "LH" "FailedLocalHealthCheck",
    NoHealthyUpstream = "UH" "NoHealthyUpstream",
    UpstreamRequestTimeout = "UT" "UpstreamRequestTimeout",
    LocalReset = "LR" "LocalReset",
    UpstreamRemoteReset = "UR" "UpstreamRemoteReset",
    UpstreamConnectionFailure = "UF" "UpstreamConnectionFailure",
    UpstreamConnectionTermination = "UC" "UpstreamConnectionTermination",
    NoRouteFound = "NR" "NoRouteFound",
    NoClusterFound = "NC" "NoClusterFound",
    DurationTimeout = "DT" "DurationTimeout",
    DownstreamConnectionTermination = "DC" "DownstreamConnectionTermination",
    DownstreamProtocolError = "DPE" "DownstreamProtocolError",
    UpstreamProtocolError = "UPE" "UpstreamProtocolError",
    StreamIdleTimeout = "SI" "StreamIdleTimeout",
    UpstreamMaxStreamDurationReached = "UMSDR" "UpstreamMaxStreamDurationReached",
    DropOverload = "DO" "DropOverload",
    DownstreamRemoteReset = "DR" "DownstreamRemoteReset",
    InvalidEnvoyRequestHeaders = "IH" "InvalidEnvoyRequestHeaders",
    UnconditionalDropOverload = "UDO" "UnconditionalDropOverload",
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(u32);

// === impl ResponseFlags ===

impl ResponseFlags {
    /// Adds a reason.
    pub fn insert(&mut self, flag: ResponseFlag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether a reason is among them.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons in the order they are printed.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        ResponseFlag::ALL.iter().copied().filter(move |flag| self.contains(*flag))
    }
}
