//! Owns compiling substitution formats.

use super::Compiler;
use crate::{
    config::{Message, diagnostic::Span, message::Value},
    format::{Form, Format, FormatError, FormatString, JsonFormat},
};

/// Formatters that bring operators which are there without them.
const BUILT_IN_FORMATTERS: [&str; 2] =
    ["envoy.extensions.formatter.metadata.v3.Metadata", "envoy.extensions.formatter.cel.v3.Cel"];

/// The formatter that brings `%REQ_WITHOUT_QUERY%`, which is not there without it.
const WITHOUT_QUERY: &str = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery";

impl Compiler<'_> {
    /// A text with operators.
    pub(super) fn format(&mut self, at: Span, path: &str, text: &str) -> Option<Format> {
        let format = self.read_format(at, path, Format::parse(text))?;
        if format.operators().any(|name| name == "REQ_WITHOUT_QUERY") {
            self.refuse_without_query(at, path);
        }
        Some(format)
    }

    fn refuse_without_query(&mut self, at: Span, path: &str) {
        let text = "Not supported field in StreamInfo: REQ_WITHOUT_QUERY";
        let hint = "%PATH(NQ)% says the same; or add its formatter to `formatters`";
        self.error(at, path, text, hint);
    }

    /// `SubstitutionFormatString`
    pub(super) fn format_string(&mut self, message: &Message) -> Option<FormatString> {
        let mut extended = false;
        for formatter in message.messages("formatters") {
            formatter.ignore("name", "free text; the type decides");
            let Some(config) = formatter.any("typed_config") else { continue };
            let kind = config.message.name();
            extended |= kind == WITHOUT_QUERY;
            if kind != WITHOUT_QUERY && !BUILT_IN_FORMATTERS.contains(&kind) {
                self.refuse_whole(&config.message, kind);
            }
        }
        if let Some(options) = message.message("json_format_options") {
            options.ignore("sort_properties", "members are sorted in any case, as in Envoy");
        }
        let form = if let Some(text) = message.text("text_format") {
            let (at, path) = (message.at_of("text_format"), message.path_of("text_format"));
            Form::Text(self.read_format(at, &path, Format::parse(text))?)
        } else if let Some(source) = message.message("text_format_source") {
            let text = self.data_source(source)?;
            let format = Format::parse(&String::from_utf8_lossy(&text));
            Form::Text(self.read_format(source.at, &source.path, format)?)
        } else {
            Form::Json(self.json_format(message, "json_format")?)
        };
        let format = FormatString {
            form,
            omit_empty: message.boolean("omit_empty_values").unwrap_or(false),
            content_type: message.text("content_type").unwrap_or_default().to_owned(),
        };
        if !extended && format.operators().contains(&"REQ_WITHOUT_QUERY") {
            self.refuse_without_query(message.at, &message.path);
        }
        Some(format)
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
