//! Owns Envoy's substitution formatter: texts whose `%OPERATORS%` are filled in from a stream.
//!
//! A format is read once, at load, and everything that is wrong with it is told then. Filling it in reads
//! a [`StreamInfo`]; the list of operators that runs is the list that documents them.

mod grpc;
mod json;
mod operators;
mod parse;
mod stream_info;
#[cfg(test)]
mod tests;
mod time;
mod value;
mod zone;

use std::fmt;

pub use grpc::{named_status as named_grpc_status, number_of as grpc_status_number};
pub use json::JsonFormat;
pub use operators::{LACKING, OPERATORS, count_wire, counts_wire};
pub use parse::FormatError;
pub use stream_info::{
    AccessLogType, Attempted, StreamInfo, Timing, UpstreamConnection, UpstreamInfo,
};

use operators::Operator;

/// What stands where an operator has nothing to say.
const NOTHING: &[u8] = b"-";

/// A text with operators.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    pieces: Vec<Piece>,
}

/// A part of a format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Stands as it is.
    Text(Box<[u8]>),
    /// Is filled in.
    Operator(Operator),
}

/// `SubstitutionFormatString`.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatString {
    /// What is written.
    pub form: Form,
    /// `omit_empty_values`: nothing is written where an operator has nothing to say.
    pub omit_empty: bool,
    /// `content_type`; empty for the usual one of its form.
    pub content_type: String,
}

/// The two forms of a format.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// `text_format`, `text_format_source`.
    Text(Format),
    /// `json_format`: one line.
    Json(JsonFormat),
}

// === impl Format ===

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    ///
    /// [`FormatError`], as Envoy refuses it.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self { pieces: parse::pieces(text)? })
    }

    /// The text itself, if there is no operator in it.
    pub fn plain(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(b""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills it in; `-` stands for nothing.
    pub fn write(&self, out: &mut Vec<u8>, info: &StreamInfo<'_>) {
        self.write_with(out, info, NOTHING);
    }

    /// Fills it in; where there is nothing to say, nothing is written.
    pub fn write_omitting(&self, out: &mut Vec<u8>, info: &StreamInfo<'_>) {
        self.write_with(out, info, b"");
    }

    fn write_with(&self, out: &mut Vec<u8>, info: &StreamInfo<'_>, nothing: &[u8]) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Operator(operator) => {
                    if !operator.value(info).write(out) {
                        out.extend_from_slice(nothing);
                    }
                }
            }
        }
    }

    /// Its operators' names.
    pub fn operators(&self) -> impl Iterator<Item = &'static str> {
        self.pieces.iter().flat_map(|piece| match piece {
            Piece::Operator(operator) => operator.names(),
            Piece::Text(_) => Vec::new(),
        })
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&String::from_utf8_lossy(text).replace('%', "%%")),
            Piece::Operator(operator) => write!(f, "%{operator}%"),
        })
    }
}

// === impl FormatString ===

impl FormatString {
    /// Fills it in.
    pub fn write(&self, out: &mut Vec<u8>, info: &StreamInfo<'_>) {
        match &self.form {
            Form::Text(format) if self.omit_empty => format.write_omitting(out, info),
            Form::Text(format) => format.write(out, info),
            Form::Json(json) => {
                json.write(out, info, self.omit_empty);
                out.push(b'\n');
            }
        }
    }

    /// What it is, as `content-type` has it.
    pub fn content_type(&self) -> &str {
        match (&self.form, self.content_type.as_str()) {
            (Form::Text(_), "") => "text/plain",
            (Form::Json(_), "") => "application/json",
            (_, named) => named,
        }
    }

    /// Its operators' names.
    pub fn operators(&self) -> Vec<&'static str> {
        match &self.form {
            Form::Text(format) => format.operators().collect(),
            Form::Json(json) => json.operators(),
        }
    }
}
