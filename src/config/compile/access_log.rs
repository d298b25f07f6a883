//! Owns compiling access logs: where lines go, what they tell, and of which exchanges.

use std::path::PathBuf;

use super::{Compiler, route::runtime_share};
use crate::{
    access_log::{Comparison, LogFilter, Op, ResponseFlag},
    config::{
        Message,
        message::{AnyValue, Value},
        model::access_log::{AccessLog, AccessLogSink, Logged},
    },
    format::{AccessLogType, Form, FormatString, grpc_status_number},
};

impl Compiler<'_> {
    /// `access_log`
    pub(super) fn access_logs(&mut self, holder: &Message) -> Vec<AccessLog> {
        self.logs_of(holder, "access_log")
    }

    /// The same in another field.
    pub(super) fn logs_of(&mut self, holder: &Message, field: &str) -> Vec<AccessLog> {
        let mut logs = Vec::new();
        for log in holder.messages(field) {
            log.ignore("name", "free text; the type decides");
            let filter = log.message("filter").map(|filter| self.log_filter(filter));
            let Some(sink) = self.access_log_sink(log) else { continue };
            let format = log.any("typed_config").and_then(|any| self.log_line(&any.message));
            // A filter that cannot be told was refused: nothing passes it.
            logs.push(AccessLog {
                sink,
                filter: filter.map(|f| f.unwrap_or(LogFilter::Traceable)),
                format,
            });
        }
        logs
    }

    /// When lines are written besides at the end.
    pub(super) fn logged(&mut self, manager: &Message) -> Logged {
        let options = manager.message("access_log_options");
        let flag = |name: &str| options.and_then(|options| options.boolean(name)).unwrap_or(false);
        let old = manager.boolean("flush_access_log_on_new_request").unwrap_or(false);
        let every = options.and_then(|options| options.duration("access_log_flush_interval"));
        Logged {
            new_requests: old || flag("flush_access_log_on_new_request"),
            every: every.or(manager.duration("access_log_flush_interval")),
            tunnels: flag("flush_log_on_tunnel_successfully_established"),
        }
    }

    /// Reads where an access log goes.
    pub(super) fn access_log_sink(&mut self, log: &Message) -> Option<AccessLogSink> {
        let at = log.at;
        let Some(AnyValue { message, .. }) = log.any("typed_config") else {
            self.error(at, &log.path, "`typed_config` is missing", "it says where the log goes");
            return None;
        };
        match message.name() {
            "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
                Some(AccessLogSink::File(PathBuf::from(message.text("path")?)))
            }
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
                Some(AccessLogSink::Stdout)
            }
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
                Some(AccessLogSink::Stderr)
            }
            other => {
                for set in &message.fields {
                    message.ignore(set.field.name, "the whole log is refused");
                }
                self.unsupported(at, &log.path, other);
                None
            }
        }
    }

    /// What a logger writes; none for the default line.
    fn log_line(&mut self, logger: &Message) -> Option<FormatString> {
        let of = |form| FormatString { form, omit_empty: false, content_type: String::new() };
        if let Some(format) = logger.message("log_format") {
            return self.format_string(format);
        }
        logger.schema.field("format")?;
        // An empty text is the default line. Observed: Envoy 1.40.
        if let Some(text) = logger.text("format") {
            let (at, path) = (logger.at_of("format"), logger.path_of("format"));
            return match text.is_empty() {
                true => None,
                false => self.format(at, &path, text).map(|format| of(Form::Text(format))),
            };
        }
        let field = ["json_format", "typed_json_format"]
            .into_iter()
            .find(|field| logger.peek(field).is_some())?;
        self.json_format(logger, field).map(|json| of(Form::Json(json)))
    }

    /// `AccessLogFilter`; none where it was refused.
    pub(super) fn log_filter(&mut self, filter: &Message) -> Option<LogFilter> {
        if let Some(status) = filter.message("status_code_filter") {
            return self.comparison(status).map(LogFilter::StatusCode);
        }
        if let Some(duration) = filter.message("duration_filter") {
            return self.comparison(duration).map(LogFilter::Duration);
        }
        if filter.message("not_health_check_filter").is_some() {
            return Some(LogFilter::NotHealthCheck);
        }
        if filter.message("traceable_filter").is_some() {
            return Some(LogFilter::Traceable);
        }
        if let Some(runtime) = filter.message("runtime_filter") {
            return Some(LogFilter::Runtime {
                key: runtime.text("runtime_key").unwrap_or_default().to_owned(),
                share: runtime_share(runtime.message("percent_sampled")),
                independent: runtime.boolean("use_independent_randomness").unwrap_or(false),
            });
        }
        if let Some(all) = filter.message("and_filter") {
            let filters = all.messages("filters").map(|filter| self.log_filter(filter));
            return filters.collect::<Option<_>>().map(LogFilter::All);
        }
        if let Some(any) = filter.message("or_filter") {
            let filters = any.messages("filters").map(|filter| self.log_filter(filter));
            return filters.collect::<Option<_>>().map(LogFilter::Any);
        }
        if let Some(header) = filter.message("header_filter") {
            return self.header_matcher(header.message("header")?).map(LogFilter::Header);
        }
        if let Some(flags) = filter.message("response_flag_filter") {
            let any = flags.list("flags").is_empty();
            // Names of flags that are never set here add nothing.
            let named = flags.texts("flags").filter_map(|(name, _)| ResponseFlag::named(name));
            let named = named.collect();
            return Some(LogFilter::ResponseFlags((!any).then_some(named)));
        }
        if let Some(grpc) = filter.message("grpc_status_filter") {
            let statuses = names_of(grpc, "statuses").filter_map(grpc_status_number).collect();
            let exclude = grpc.boolean("exclude").unwrap_or(false);
            return Some(LogFilter::GrpcStatus { statuses, exclude });
        }
        if let Some(metadata) = filter.message("metadata_filter") {
            metadata.ignore("matcher", "no filter notes any metadata: there is nothing to match");
            let passes = metadata.boolean("match_if_key_not_found").unwrap_or(true);
            return Some(LogFilter::Metadata(passes));
        }
        if let Some(log_type) = filter.message("log_type_filter") {
            let all = AccessLogType::ALL.into_iter();
            let of = |name: &str| all.clone().find(|own| own.name() == name);
            let types = names_of(log_type, "types").filter_map(of).collect();
            let exclude = log_type.boolean("exclude").unwrap_or(false);
            return Some(LogFilter::LogType { types, exclude });
        }
        // `extension_filter` is left unread, and so refused.
        None
    }

    fn comparison(&mut self, filter: &Message) -> Option<Comparison> {
        let comparison = filter.message("comparison")?;
        let value = comparison.message("value");
        Some(Comparison {
            op: match comparison.choice("op") {
                Some("GE") => Op::AtLeast,
                Some("LE") => Op::AtMost,
                Some("NE") => Op::Other,
                _ => Op::Equal,
            },
            default: value.and_then(|value| value.number_u32("default_value")).unwrap_or(0),
            runtime_key: value
                .and_then(|value| value.text("runtime_key"))
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

/// The names of a list of enums.
fn names_of<'m>(message: &'m Message, field: &str) -> impl Iterator<Item = &'static str> + 'm {
    message.list(field).iter().filter_map(|item| match item.value {
        Value::Enum(_, name) => Some(name),
        _ => None,
    })
}
