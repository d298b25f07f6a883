//! Owns the headers that are kept once: what repeats is joined by a comma, in the place of the first.
//!
//! Observed: Envoy 1.40 keeps each of these in one place of its own, and so joins them (RFC 9110, 5.3);
//! others pass as they came.

/// In requests, sorted.
pub(super) static IN_REQUESTS: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authentication",
    "authorization",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "te",
    "upgrade",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// In responses, sorted.
pub(super) static IN_RESPONSES: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-status",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::HeaderBlock;

    #[test]
    fn the_lists_are_sorted() {
        assert!(IN_REQUESTS.is_sorted() && IN_RESPONSES.is_sorted());
    }

    #[test]
    fn what_repeats_is_joined_in_the_place_of_the_first_if_it_is_listed() {
        let mut block = HeaderBlock::default();
        for (name, value) in [
            ("accept", "a"),
            ("x-own", "1"),
            ("via", "v"),
            ("accept", "b"),
            ("x-own", "2"),
            ("via", "w"),
            ("accept", ""),
        ] {
            block.append_name(name.as_bytes(), value.as_bytes());
        }
        block.join_repeated(IN_REQUESTS);
        let mut out = Vec::new();
        block.write_lines(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "accept: a,b,\r\nx-own: 1\r\nvia: v,w\r\nx-own: 2\r\n");
        assert!(!block.is_repeated(crate::codec::Known::Via));
    }
}
