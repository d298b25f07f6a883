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
            /// All reasons.
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

/// Reasons, in the order in which they came up, which is the order they are printed in. Observed: Envoy 1.40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags {
    /// A byte for each: its number, and one more; 0 for none. An exchange has seldom more than two.
    flags: [u8; 8],
}

// === impl ResponseFlag ===

impl ResponseFlag {
    /// The reason with this short name, if it is one that is ever given here.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|flag| flag.short() == name)
    }
}

// === impl ResponseFlags ===

impl ResponseFlags {
    /// Adds a reason; one more than there is room for is left out.
    pub fn insert(&mut self, flag: ResponseFlag) {
        if !self.contains(flag)
            && let Some(place) = self.flags.iter_mut().find(|place| **place == 0)
        {
            *place = flag as u8 + 1;
        }
    }

    /// Whether a reason is among them.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.flags.contains(&(flag as u8 + 1))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.flags[0] == 0
    }

    /// The reasons in the order they are printed.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        let flags = self.flags.into_iter().take_while(|flag| *flag > 0);
        flags.filter_map(|flag| ResponseFlag::ALL.get(usize::from(flag) - 1).copied())
    }
}
