//! Owns compiling the admin port.

use std::{path::PathBuf, sync::Arc};

use understudy_actors::plan::AdminPlan;

use super::Compiler;
use crate::config::{
    Message,
    message::AnyValue,
    model::{access_log::AccessLogSink, admin::AdminOptions},
};

/// Envoy's `profile_path` default.
const PROFILE_PATH: &str = "/var/log/envoy/envoy.prof";

impl Compiler<'_> {
    pub(super) fn admin(&mut self, admin: &Message) -> Option<AdminPlan> {
        let old = admin.text("access_log_path").filter(|path| !path.is_empty());
        let mut access_log = old.map(PathBuf::from);
        for log in admin.messages("access_log") {
            log.ignore("name", "free text; the type decides");
            if let Some(AccessLogSink::File(path)) = self.access_log_sink(log) {
                access_log = Some(path);
            }
        }
        let profile_path = admin.text("profile_path").filter(|path| !path.is_empty());
        let profile_path = PathBuf::from(profile_path.unwrap_or(PROFILE_PATH));
        let allow_paths = admin.messages("allow_paths");
        let allow_paths = allow_paths.filter_map(|matcher| self.text_matcher(matcher)).collect();
        // Without an address there is no admin port, as in Envoy.
        let address = self.ip_address(admin.message("address")?)?;
        let options = AdminOptions { access_log, profile_path, allow_paths };
        Some(AdminPlan { address, options: Arc::new(options) })
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
}
