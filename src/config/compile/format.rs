//! Owns compiling substitution formats.

use super::Compiler;
use crate::{
    config::{Message, diagnostic::Span, message::Value},
    format::{Form, Format, FormatError, FormatString, JsonFormat},
};

/// Formatters that bring operators which are there without them.
const BUILT_IN_FORMATTERS: [&str; 3] = [
    "envoy.extensions.formatter.metadata.v3.Metadata",
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    "envoy.extensions.formatter.cel.v3.Cel",
];

impl Compiler<'_> {
    /// A text with operators.
    pub(super) fn format(&mut self, at: Span, path: &str, text: &str) -> Option<Format> {
        self.read_format(at, path, Format::parse(text))
    }

    /// `SubstitutionFormatString`
    pub(super) fn format_string(&mut self, message: &Message) -> Option<FormatString> {
        for formatter in message.messages("formatters") {
            formatter.ignore("name", "free text; the type decides");
            let Some(config) = formatter.any("typed_config") else { continue };
            if !BUILT_IN_FORMATTERS.contains(&config.message.name()) {
                self.refuse_whole(&config.message, config.message.name());
            }
        }
        if let Some(options) = message.message("json_format_options") {
            options.ignore("sort_properties", "members are sorted in any case, as in Envoy");
        }
        let form = if let Some(text) = message.text("text_format") {
            let (at, path) = (message.at_of("text_format"), message.path_of("text_format"));
            Form::Text(self.format(at, &path, text)?)
        } else if let Some(source) = message.message("text_format_source") {
            let text = self.data_source(source)?;
            Form::Text(self.format(source.at, &source.path, &String::from_utf8_lossy(&text))?)
        } else {
            Form::Json(self.json_format(message, "json_format")?)
        };
        Some(FormatString {
            form,
            omit_empty: message.boolean("omit_empty_values").unwrap_or(false),
            content_type: message.text("content_type").unwrap_or_default().to_owned(),
        })
    }

    /// A tree of formats.
    pub(super) fn json_format(&mut self, message: &Message, field: &str) -> Option<JsonFormat> {
        let Value::Json(json) = &message.get(field)?.value else { return None };
        let (at, path) = (message.at_of(field), message.path_of(field));
        self.read_format(at, &path, JsonFormat::parse(json))
    }

    fn read_format<T>(&mut self, at: Span, path: &str, read: Result<T, FormatError>) -> Option<T> {
        match read {
            Ok(format) => Some(format),
            Err(FormatError::Lacking { name }) => {
                self.unsupported(at, path, &format!("the operator %{name}%"));
                None
            }
            Err(why) => {
                self.error(at, path, why.to_string(), why.hint());
                None
            }
        }
    }
}
