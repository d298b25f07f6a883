//! Owns compiling the admin port.

use std::{path::PathBuf, sync::Arc};

use understudy_actors::plan::{AdminPlan, SocketPlan};

use super::Compiler;
use crate::config::{
    Message,
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
        let at = admin.message("address")?;
        let (address, mode) = (self.address(at)?, self.pipe_mode(at));
        let options = AdminOptions { access_log, profile_path, allow_paths };
        let socket = SocketPlan { mode, ..SocketPlan::default() };
        Some(AdminPlan { address, socket, options: Arc::new(options) })
    }
}
