//! Owns Envoy's default access log line, byte for byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ResponseFlags;

/// What a line tells.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// When the request began.
    pub started: SystemTime,
    /// `:method`
    pub method: &'a [u8],
    /// The path as it came, query included.
    pub path: &'a [u8],
    /// `HTTP/1.1` and the like.
    pub protocol: &'a str,
    /// Status; 0 for none.
    pub status: u16,
    /// Why.
    pub flags: ResponseFlags,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// How long it took.
    pub duration: Duration,
    /// `x-envoy-upstream-service-time`.
    pub service_time: Option<&'a [u8]>,
    /// `x-forwarded-for`
    pub forwarded_for: Option<&'a [u8]>,
    /// `user-agent`
    pub user_agent: Option<&'a [u8]>,
    /// `x-request-id`
    pub request_id: Option<&'a [u8]>,
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// The host that was picked, as `ip:port`.
    pub upstream: Option<&'a str>,
}

// === impl Record ===

impl Record<'_> {
    /// What is known of a connection without a request: nothing yet.
    pub fn of_connection() -> Self {
        Self {
            started: UNIX_EPOCH,
            method: b"",
            path: b"",
            protocol: "-",
            status: 0,
            flags: ResponseFlags::default(),
            received: 0,
            sent: 0,
            duration: Duration::ZERO,
            service_time: None,
            forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream: None,
        }
    }

    /// Writes the default line:
    ///
    /// `[START] "METHOD PATH PROTOCOL" CODE FLAGS RX TX DURATION SERVICE_TIME "XFF" "UA" "ID" "HOST"
    /// "UPSTREAM"`
    ///
    /// Source: Envoy, "Default format string".
    pub fn write_default(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        timestamp(out, self.started);
        out.extend_from_slice(b"] \"");
        for part in
            [or_dash(self.method), b" ", or_dash(self.path), b" ", self.protocol.as_bytes(), b"\" "]
        {
            out.extend_from_slice(part);
        }
        number(out, u64::from(self.status));
        out.push(b' ');
        flags(out, self.flags);
        for count in [self.received, self.sent, ms(self.duration)] {
            out.push(b' ');
            number(out, count);
        }
        out.push(b' ');
        out.extend_from_slice(self.service_time.unwrap_or(b"-"));
        let upstream = self.upstream.map(str::as_bytes);
        let quoted =
            [self.forwarded_for, self.user_agent, self.request_id, self.authority, upstream];
        for text in quoted {
            out.extend_from_slice(b" \"");
            out.extend_from_slice(text.unwrap_or(b"-"));
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

/// No first line has nothing for these: what is empty was not read.
fn or_dash(part: &[u8]) -> &[u8] {
    if part.is_empty() { b"-" } else { part }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn flags(out: &mut Vec<u8>, flags: ResponseFlags) {
    if flags.is_empty() {
        return out.push(b'-');
    }
    for (at, flag) in flags.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(flag.short().as_bytes());
    }
}

/// Writes `2026-11-23T17:21:09.873Z`.
pub(super) fn timestamp(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = crate::worker::clock::civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut part = |value: u64, digits: u32, after: u8| {
        for digit in (0..digits).rev() {
            out.push(b'0' + (value / 10u64.pow(digit) % 10) as u8);
        }
        out.push(after);
    };
    part(year, 4, b'-');
    part(month, 2, b'-');
    part(day, 2, b'T');
    part(of_day / 3_600, 2, b':');
    part(of_day / 60 % 60, 2, b':');
    part(of_day % 60, 2, b'.');
    part(u64::from(since.subsec_millis()), 3, b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::ResponseFlag;

    #[test]
    fn the_line_is_envoys() {
        let mut flags = ResponseFlags::default();
        flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        let record = Record {
            started: UNIX_EPOCH + Duration::from_millis(1_795_454_469_873),
            method: b"GET",
            path: b"/retry/status/503",
            protocol: "HTTP/1.1",
            status: 503,
            flags,
            received: 0,
            sent: 265,
            duration: Duration::from_micros(29_700),
            service_time: Some(b"28"),
            forwarded_for: None,
            user_agent: Some(b""),
            request_id: None,
            authority: Some(b"localhost"),
            upstream: Some("127.0.0.1:22100"),
        };
        let mut line = Vec::new();
        record.write_default(&mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "[2026-11-23T17:21:09.873Z] \"GET /retry/status/503 HTTP/1.1\" 503 URX 0 265 29 28 \
             \"-\" \"\" \"-\" \"localhost\" \"127.0.0.1:22100\"\n"
        );
    }
}
