//! Owns the `proxy-status` header: why an answer is not what was asked for, in the words of RFC 9209.

use super::Exchange;
use crate::access_log::{ResponseFlag, ResponseFlags};

const HEADER: &[u8] = b"proxy-status";

/// The errors that flags stand for, and the status that RFC 9209 recommends. The first that fits counts.
///
/// Source: Envoy, `ProxyStatusConfig`; observed: Envoy 1.40. `DPE` is not among them: it is known too late there.
const ERRORS: &[(ResponseFlag, &str, u16)] = {
    use ResponseFlag as F;
    &[
        (F::NoHealthyUpstream, "destination_unavailable", 503),
        (F::UpstreamRequestTimeout, "http_response_timeout", 504),
        (F::LocalReset, "connection_timeout", 504),
        (F::UpstreamRemoteReset, "connection_terminated", 502),
        (F::UpstreamConnectionFailure, "connection_refused", 502),
        (F::UpstreamConnectionTermination, "connection_terminated", 502),
        (F::UpstreamOverflow, "connection_limit_reached", 503),
        (F::NoRouteFound, "destination_not_found", 500),
        (F::UpstreamRetryLimitExceeded, "destination_unavailable", 503),
        (F::StreamIdleTimeout, "http_response_timeout", 504),
        (F::InvalidEnvoyRequestHeaders, "http_request_error", 400),
        (F::UpstreamMaxStreamDurationReached, "http_response_timeout", 504),
        (F::UpstreamProtocolError, "http_protocol_error", 502),
        (F::NoClusterFound, "destination_unavailable", 503),
    ]
};

fn error_of(flags: ResponseFlags) -> Option<(&'static str, u16)> {
    let found = ERRORS.iter().find(|(flag, ..)| flags.contains(*flag));
    found.map(|(_, error, status)| (*error, *status))
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Says in the answer what went wrong, where that is asked for.
    #[inline]
    pub(super) fn tell_proxy_status(&mut self) {
        if self.manager.config.proxy_status.is_some() {
            self.add_proxy_status();
        }
    }

    #[cold]
    fn add_proxy_status(&mut self) {
        let Some(config) = &self.manager.config.proxy_status else { return };
        let flags = self.tally.flags;
        let Some((error, status)) = error_of(flags) else { return };
        let headers = &mut self.heads.response.headers;
        let mut value = headers.get_name(HEADER).map(<[u8]>::to_vec).unwrap_or_default();
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(format!("{}; error={error}", config.name).as_bytes());
        let details = self.tally.told.as_ref().map_or("", |told| &told.details);
        if config.tells_details && !details.is_empty() {
            let mut told = details.to_owned();
            if config.tells_flags {
                let names: Vec<&str> = flags.iter().map(ResponseFlag::short).collect();
                told.push_str("; ");
                told.push_str(&names.join(","));
            }
            let told = told.replace('\\', "\\\\").replace('"', "\\\"");
            value.extend_from_slice(format!("; details=\"{told}\"").as_bytes());
        }
        headers.remove_name(HEADER);
        headers.append_name(HEADER, &value);
        if config.sets_status {
            self.heads.response.status = status;
            self.tally.status = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_the_list_counts_whatever_came_first() {
        let flags = |all: &[ResponseFlag]| {
            let mut flags = ResponseFlags::default();
            all.iter().for_each(|flag| flags.insert(*flag));
            flags
        };
        use ResponseFlag as F;
        let both = flags(&[F::UpstreamRetryLimitExceeded, F::UpstreamRequestTimeout]);
        assert_eq!(error_of(both), Some(("http_response_timeout", 504)));
        assert_eq!(error_of(flags(&[F::DownstreamProtocolError])), None);
        assert_eq!(error_of(flags(&[])), None);
    }
}
