//! Owns compiling active health checks.

use std::time::Duration;

use understudy_actors::plan::{HealthCheckKind, HealthCheckPlan};

use super::Compiler;
use crate::config::{Message, message::Value};

impl Compiler<'_> {
    pub(super) fn health_checks(&mut self, cluster: &Message) -> Vec<HealthCheckPlan> {
        cluster.messages("health_checks").filter_map(|check| self.health_check(check)).collect()
    }

    fn health_check(&mut self, check: &Message) -> Option<HealthCheckPlan> {
        let kind = self.health_check_kind(check)?;
        let required = |name: &str| check.duration(name).unwrap_or(Duration::from_secs(1));
        let optional = |name: &str| check.duration(name).unwrap_or_default();
        Some(HealthCheckPlan {
            timeout: required("timeout"),
            interval: required("interval"),
            initial_jitter: optional("initial_jitter"),
            interval_jitter: optional("interval_jitter"),
            no_traffic_interval: check
                .duration("no_traffic_interval")
                .unwrap_or(Duration::from_secs(60)),
            unhealthy_interval: check.duration("unhealthy_interval"),
            unhealthy_edge_interval: check.duration("unhealthy_edge_interval"),
            healthy_edge_interval: check.duration("healthy_edge_interval"),
            unhealthy_threshold: check.number_u32("unhealthy_threshold").unwrap_or(1),
            healthy_threshold: check.number_u32("healthy_threshold").unwrap_or(1),
            alt_port: check.number("alt_port").and_then(|port| u16::try_from(port).ok()),
            reuse_connection: check.boolean("reuse_connection").unwrap_or(true),
            kind,
        })
    }

    fn health_check_kind(&mut self, check: &Message) -> Option<HealthCheckKind> {
        if let Some(http) = check.message("http_health_check") {
            let text = |name: &str| http.text(name).unwrap_or_default().to_owned();
            let method = match http.choice("method") {
                None | Some("METHOD_UNSPECIFIED") => "GET",
                Some(method) => method,
            };
            let ranges = http.messages("expected_statuses").map(|range| {
                let bound =
                    |name| range.number(name).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
                (bound("start"), bound("end"))
            });
            let mut expected: Vec<_> = ranges.collect();
            if expected.is_empty() {
                expected.push((200, 201));
            }
            let headers = http.messages("request_headers_to_add").filter_map(|option| {
                let header = option.message("header")?;
                Some((header.text("key")?.to_owned(), header.text("value")?.to_owned()))
            });
            return Some(HealthCheckKind::Http {
                host: text("host"),
                path: text("path"),
                method: method.to_owned(),
                http2: http.choice("codec_client_type") == Some("HTTP2"),
                headers: headers.collect(),
                expected,
            });
        }
        let tcp = check.message("tcp_health_check")?;
        let send =
            tcp.message("send").and_then(|payload| self.payload(payload)).unwrap_or_default();
        let receive = tcp.messages("receive").filter_map(|payload| self.payload(payload)).collect();
        Some(HealthCheckKind::Tcp { send, receive })
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
