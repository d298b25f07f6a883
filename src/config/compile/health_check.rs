//! Owns compiling active health checks.

use std::time::Duration;

use understudy_actors::plan::{AppendAction, HeaderToAdd, HealthCheckKind, HealthCheckPlan};

use super::Compiler;
use crate::config::{Message, message::Value};

impl Compiler<'_> {
    pub(super) fn health_checks(&mut self, cluster: &Message) -> Vec<HealthCheckPlan> {
        let checks: Vec<_> = cluster.messages("health_checks").collect();
        if let Some(second) = checks.get(1) {
            self.unsupported(second.at, &second.path, "a second health check of one cluster");
        }
        checks.into_iter().take(1).filter_map(|check| self.health_check(check)).collect()
    }

    fn health_check(&mut self, check: &Message) -> Option<HealthCheckPlan> {
        let kind = self.health_check_kind(check)?;
        let required = |name: &str| check.duration(name).unwrap_or(Duration::from_secs(1));
        let optional = |name: &str| check.duration(name).unwrap_or_default();
        // Observed: Envoy 1.40 asks the host's own port all the same.
        check.ignore("alt_port", "Envoy does not heed it");
        Some(HealthCheckPlan {
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
            kind,
        })
    }

    fn health_check_kind(&mut self, check: &Message) -> Option<HealthCheckKind> {
        if let Some(http) = check.message("http_health_check") {
            return Some(self.http_check(http));
        }
        let tcp = check.message("tcp_health_check")?;
        let send =
            tcp.message("send").and_then(|payload| self.payload(payload)).unwrap_or_default();
        let receive = tcp.messages("receive").filter_map(|payload| self.payload(payload)).collect();
        Some(HealthCheckKind::Tcp { send, receive })
    }

    fn http_check(&mut self, http: &Message) -> HealthCheckKind {
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
        let authority = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
        if http2 && !host.bytes().all(authority) {
            let what = format!("a host such as `{host}` over HTTP/2");
            self.unsupported(http.at_of("host"), &http.path_of("host"), &what);
        }
        let mut expected = self.statuses(http, "expected_statuses");
        if expected.is_empty() {
            expected.push((200, 201));
        }
        let retriable = self.statuses(http, "retriable_statuses");
        let add = http.messages("request_headers_to_add");
        HealthCheckKind::Http {
            host,
            path,
            method: method.to_owned(),
            http2,
            expected,
            retriable,
            remove: http
                .texts("request_headers_to_remove")
                .map(|(name, _)| name.to_owned())
                .collect(),
            add: add.filter_map(|option| self.header_to_add(option)).collect(),
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

    /// Bytes of a TCP check: `text` is hexadecimal.
    fn payload(&mut self, payload: &Message) -> Option<Vec<u8>> {
        if let Some(Value::Bytes(bytes)) = payload.get("binary").map(|set| &set.value) {
            return Some(bytes.clone());
        }
        let text = payload.text("text")?;
        let digits: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        if digits.is_none() {
            let text = format!("`{text}` is not hexadecimal");
            self.error(payload.at, &payload.path, text, "two digits a byte, such as 50494E47");
        }
        digits
    }
}
