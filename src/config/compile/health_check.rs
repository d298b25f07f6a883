//! Owns compiling active health checks.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use understudy_actors::plan::{HealthCheckKind, HealthCheckPlan};

use super::Compiler;
use crate::config::{
    Message,
    message::Value,
    model::{
        cluster::{Upstream, UpstreamProtocol},
        health_check::{
            AppendAction, Asks, GrpcAsks, HeaderToAdd, HttpAsks, ProxyProtocol, TcpAsks,
        },
    },
};

/// How much of an answer's body is looked at where nothing is said of it. Source:
/// `HttpHealthCheck.response_buffer_size`.
const RECEIVE_BYTES: u64 = 1024;

/// A file for events. Source: `HealthCheck.event_logger`.
const FILE_SINK: &str =
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink";

/// A cluster's, as far as its checks need to know it.
struct Checked<'a> {
    name: &'a str,
    upstream: &'a Upstream,
}

impl Compiler<'_> {
    pub(super) fn health_checks(
        &mut self,
        cluster: &Message,
        upstream: &Upstream,
    ) -> Vec<Arc<HealthCheckPlan>> {
        let checks: Vec<_> = cluster.messages("health_checks").collect();
        let name = cluster.text("name").unwrap_or_default();
        let of = Checked { name, upstream };
        let mut names = HashSet::new();
        for (at, check) in checks.iter().enumerate().filter(|_| checks.len() > 1) {
            let name = check.text("name").unwrap_or_default();
            if name.is_empty() {
                let text = format!(
                    "health check at index {at} is missing a name; all health checks must have a \
                     name when multiple health checks are configured"
                );
                self.error(check.at, &check.path, text, "its stats are listed by it");
            } else if !names.insert(name) {
                let text = format!(
                    "duplicate health check name '{name}' at index {at}; all health check names \
                     must be unique within a cluster"
                );
                self.error(check.at_of("name"), &check.path_of("name"), text, "");
            }
        }
        let plans = checks.into_iter().filter_map(|check| self.health_check(check, &of));
        plans.map(Arc::new).collect()
    }

    fn health_check(&mut self, check: &Message, of: &Checked<'_>) -> Option<HealthCheckPlan> {
        let (kind, asks) = self.asks(check, of)?;
        let required = |name: &str| check.duration(name).unwrap_or(Duration::from_secs(1));
        let optional = |name: &str| check.duration(name).unwrap_or_default();
        let flag = |name: &str| check.boolean(name).unwrap_or(false);
        // Observed: Envoy 1.40 asks the host's own port all the same.
        check.ignore("alt_port", "Envoy does not heed it");
        Some(HealthCheckPlan {
            name: check.text("name").unwrap_or_default().to_owned(),
            timeout: required("timeout"),
            interval: required("interval"),
            initial_jitter: optional("initial_jitter"),
            interval_jitter: optional("interval_jitter"),
            no_traffic_interval: check
                .duration("no_traffic_interval")
                .unwrap_or(Duration::from_secs(60)),
            no_traffic_healthy_interval: check.duration("no_traffic_healthy_interval"),
            interval_jitter_percent: check.number_u32("interval_jitter_percent").unwrap_or(0),
            unhealthy_interval: check.duration("unhealthy_interval"),
            unhealthy_edge_interval: check.duration("unhealthy_edge_interval"),
            healthy_edge_interval: check.duration("healthy_edge_interval"),
            unhealthy_threshold: check.number_u32("unhealthy_threshold").unwrap_or(1),
            healthy_threshold: check.number_u32("healthy_threshold").unwrap_or(1),
            reuse_connection: check.boolean("reuse_connection").unwrap_or(true),
            event_logs: self.event_logs(check),
            logs_failures: flag("always_log_health_check_failures"),
            logs_successes: flag("always_log_health_check_success"),
            kind,
            asks: Arc::new(asks),
        })
    }

    /// Where what a check finds is written down.
    fn event_logs(&mut self, check: &Message) -> Vec<PathBuf> {
        let own = check.text("event_log_path").filter(|path| !path.is_empty());
        let mut logs: Vec<_> = own.map(PathBuf::from).into_iter().collect();
        for logger in check.messages("event_logger") {
            logger.ignore("name", "free text; the type decides");
            let Some(config) = logger.any("typed_config") else { continue };
            match config.message.name() {
                FILE_SINK => {
                    logs.extend(config.message.text("event_log_path").map(PathBuf::from));
                }
                other => self.refuse_whole(&config.message, other),
            }
        }
        logs
    }

    fn asks(&mut self, check: &Message, of: &Checked<'_>) -> Option<(HealthCheckKind, Asks)> {
        if let Some(http) = check.message("http_health_check") {
            let asks = self.http_check(http, of);
            return Some((HealthCheckKind::Http { http2: asks.http2 }, Asks::Http(asks)));
        }
        if let Some(tcp) = check.message("tcp_health_check") {
            return Some((HealthCheckKind::Tcp, Asks::Tcp(self.tcp_check(tcp))));
        }
        if let Some(grpc) = check.message("grpc_health_check") {
            if let UpstreamProtocol::Http1(_) = of.upstream.protocol {
                let text = "a cluster must support HTTP/2 for gRPC healthchecking";
                let hint = "give it http2_protocol_options";
                self.error(check.at_of("grpc_health_check"), &grpc.path, text, hint);
            }
            let timeout = check.duration("timeout").unwrap_or_default();
            return Some((HealthCheckKind::Grpc, Asks::Grpc(self.grpc_check(grpc, timeout, of))));
        }
        // `custom_health_check` is left unread, and so refused; the rest goes with it.
        for set in check.fields.iter().filter(|set| set.field.name != "custom_health_check") {
            check.ignore(set.field.name, "the whole check is refused");
        }
        None
    }

    fn tcp_check(&mut self, tcp: &Message) -> TcpAsks {
        let proxy_protocol = tcp.message("proxy_protocol_config");
        let send = tcp.message("send").and_then(|payload| self.payload(payload));
        TcpAsks {
            proxy_protocol: proxy_protocol.map(|config| match config.choice("version") {
                Some("V2") => ProxyProtocol::V2,
                _ => ProxyProtocol::V1,
            }),
            send: send.unwrap_or_default(),
            receive: self.payloads(tcp),
        }
    }

    fn grpc_check(&mut self, grpc: &Message, timeout: Duration, of: &Checked<'_>) -> GrpcAsks {
        let text = |name: &str| grpc.text(name).unwrap_or_default().to_owned();
        let (service, authority) = (text("service_name"), text("authority"));
        self.check_authority(grpc, "authority", &authority, of);
        let add = grpc.messages("initial_metadata");
        let add = add.filter_map(|option| self.header_to_add(option)).collect();
        GrpcAsks { service, authority, add, timeout: grpc_timeout(timeout) }
    }

    fn http_check(&mut self, http: &Message, of: &Checked<'_>) -> HttpAsks {
        let text = |name: &str| http.text(name).unwrap_or_default().to_owned();
        let method = match http.choice("method") {
            None | Some("METHOD_UNSPECIFIED") => "GET",
            Some(method) => method,
        };
        let codec = http.choice("codec_client_type");
        if codec == Some("HTTP3") {
            let name = "codec_client_type";
            self.unsupported(http.at_of(name), &http.path_of(name), "`codec_client_type: HTTP3`");
        }
        let (host, path, http2) = (text("host"), text("path"), codec == Some("HTTP2"));
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"#<>`".contains(&byte)) {
            let what = format!("a path such as `{path}`");
            self.unsupported(http.at_of("path"), &http.path_of("path"), &what);
        }
        if http2 {
            self.check_authority(http, "host", &host, of);
        }
        let send = http.message("send").and_then(|payload| self.payload(payload));
        if http.peek("send").is_some() && ["GET", "HEAD", "DELETE", "TRACE"].contains(&method) {
            let text = format!(
                "HTTP health check cannot specify a request payload with method '{method}'"
            );
            let hint = "POST, PUT, PATCH and OPTIONS have one";
            self.error(http.at_of("send"), &http.path_of("send"), text, hint);
        }
        let mut expected = self.statuses(http, "expected_statuses");
        if expected.is_empty() {
            expected.push((200, 201));
        }
        let retriable = self.statuses(http, "retriable_statuses");
        let add = http.messages("request_headers_to_add");
        let receive = self.payloads(http);
        let service = http.message("service_name_matcher");
        HttpAsks {
            host,
            path,
            method: method.to_owned(),
            http2,
            send: send.unwrap_or_default(),
            receive_bytes_max: self.receive_bytes_max(http, &receive),
            receive,
            expected,
            retriable,
            remove: http
                .texts("request_headers_to_remove")
                .map(|(name, _)| name.to_owned())
                .collect(),
            add: add.filter_map(|option| self.header_to_add(option)).collect(),
            service: service.and_then(|matcher| self.text_matcher(matcher)),
        }
    }

    /// How much of the body is looked at; what is to be found there must fit.
    fn receive_bytes_max(&mut self, http: &Message, receive: &[Vec<u8>]) -> Option<usize> {
        let name = "response_buffer_size";
        let max = http.number(name).unwrap_or(RECEIVE_BYTES);
        let wanted: usize = receive.iter().map(Vec::len).sum();
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if max > 0 && wanted > max {
            let text = format!(
                "The expected response length '{wanted}' is over than http health response buffer \
                 size '{max}'"
            );
            self.error(http.at_of(name), &http.path_of(name), text, "0 is no limit");
        }
        (max > 0).then_some(max)
    }

    /// Refuses a name that HTTP/2 cannot ask for: the check's own, or else the cluster's.
    fn check_authority(&mut self, check: &Message, field: &str, own: &str, of: &Checked<'_>) {
        let asked = if own.is_empty() { of.name } else { own };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
        if !asked.bytes().all(fits) {
            let what = format!("a {field} such as `{asked}` over HTTP/2");
            self.unsupported(check.at_of(field), &check.path_of(field), &what);
        }
    }

    /// Half-open ranges. Source: Envoy's `HttpStatusChecker`; what it refuses is refused.
    fn statuses(&mut self, http: &Message, name: &str) -> Vec<(u16, u16)> {
        let mut ranges = Vec::new();
        for range in http.messages(name) {
            let bound = |name| range.number(name).unwrap_or(0);
            let (start, end) = (bound("start"), bound("end"));
            match (u16::try_from(start), u16::try_from(end)) {
                (Ok(start @ 100..), Ok(end @ ..=600)) if start < end => ranges.push((start, end)),
                _ => {
                    let text = format!("{start} to {end} is no range of statuses");
                    let hint = "start is in it and at least 100, end is not and at most 600";
                    self.error(range.at, &range.path, text, hint);
                }
            }
        }
        ranges
    }

    /// One header of a check's request; text without operators.
    fn header_to_add(&mut self, option: &Message) -> Option<HeaderToAdd> {
        let header = option.message("header")?;
        let (name, value) = (header.text("key")?, header.text("value").unwrap_or_default());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.eq_ignore_ascii_case("host") || !name.bytes().all(token) {
            let text = format!("`{name}` cannot be set on a health check");
            self.error(
                header.at_of("key"),
                &header.path_of("key"),
                text,
                "`host` is a field of its own",
            );
        }
        if value.replace("%%", "").contains('%') {
            let (at, path) = (header.at_of("value"), header.path_of("value"));
            self.unsupported(at, &path, "an operator in a health check's header");
        }
        let overwrites = option.boolean("append") == Some(false);
        let action = match option.choice("append_action") {
            Some("ADD_IF_ABSENT") => AppendAction::AddIfAbsent,
            Some("OVERWRITE_IF_EXISTS_OR_ADD") => AppendAction::OverwriteOrAdd,
            Some("OVERWRITE_IF_EXISTS") => AppendAction::OverwriteIfExists,
            _ if overwrites => AppendAction::OverwriteOrAdd,
            _ => AppendAction::AppendOrAdd,
        };
        let keep_empty = option.boolean("keep_empty_value").unwrap_or(false);
        let (name, value) = (name.to_owned(), value.replace("%%", "%"));
        (keep_empty || !value.is_empty()).then_some(HeaderToAdd { name, value, action })
    }

    /// The texts that an answer must hold.
    fn payloads(&mut self, check: &Message) -> Vec<Vec<u8>> {
        check.messages("receive").filter_map(|payload| self.payload(payload)).collect()
    }

    /// Bytes of a check: `text` is hexadecimal.
    fn payload(&mut self, payload: &Message) -> Option<Vec<u8>> {
        if let Some(Value::Bytes(bytes)) = payload.get("binary").map(|set| &set.value) {
            return Some(bytes.clone());
        }
        let text = payload.text("text")?;
        let digits: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let [high, low] = pair else { return None };
                u8::try_from(digit(high)? << 4 | digit(low)?).ok()
            })
            .collect();
        if digits.is_none() {
            let text = format!("`{text}` is not hexadecimal");
            self.error(payload.at, &payload.path, text, "two digits a byte, such as 50494E47");
        }
        digits
    }
}

/// A timeout as gRPC tells it: at most eight digits and a unit. Observed: Envoy 1.40, `300m`.
fn grpc_timeout(timeout: Duration) -> String {
    let ms = timeout.as_millis();
    let units = [(ms, "m"), (ms / 1000, "S"), (ms / 60_000, "M"), (ms / 3_600_000, "H")];
    let fits = units.iter().find(|(count, _)| *count < 100_000_000);
    fits.map_or_else(|| "99999999H".to_owned(), |(count, unit)| format!("{count}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_has_eight_digits_at_most() {
        for (ms, expected) in [
            (300, "300m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (100_000_000_000, "1666666M"),
            (u64::MAX, "99999999H"),
        ] {
            assert_eq!(grpc_timeout(Duration::from_millis(ms)), expected);
        }
    }
}
