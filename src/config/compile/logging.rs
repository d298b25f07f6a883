//! Owns compiling the form of the proxy's own log, `application_log_config`.

use super::Compiler;
use crate::{
    config::{Message, message::Value},
    logging::Pattern,
};

impl Compiler<'_> {
    /// The form of a line, if the bootstrap names one.
    ///
    /// Observed: Envoy 1.40: a `json_format` is a pattern written as JSON; what is not text in it stays.
    pub(super) fn log_format(&mut self, bootstrap: &Message) -> Option<Pattern> {
        let config = bootstrap.message("application_log_config")?.message("log_format")?;
        if self.options.log_format_given {
            self.error(
                config.at,
                &config.path,
                "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.",
                "leave one of them out",
            );
        }
        if let Some(text) = config.text("text_format") {
            return Some(Pattern::parse(text));
        }
        let Value::Json(json) = &config.get("json_format")?.value else { return None };
        let pattern = Pattern::parse(&json.to_string());
        if let Some(operator) = pattern.first_of("v_") {
            self.error(
                config.at_of("json_format"),
                &config.path_of("json_format"),
                format!("Usage of %{operator} is unavailable for JSON log formats"),
                "write %j: it is the text, escaped for JSON",
            );
        }
        Some(pattern)
    }
}
