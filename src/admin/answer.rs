//! Owns what an endpoint answers: a status, a kind of content and a body, whole or in pieces.

use serde_json::Value;
use understudy_actors::{Applied, command::Refusal};

use super::{Ask, Desk, doc::Doc, json};

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`
    pub content_type: &'static str,
    /// `content-security-policy`, which a page with a script has.
    pub policy: Option<&'static str>,
    /// The body.
    pub body: Body,
    /// `x-content-type-options` stands before all other headers as well, as in Envoy where a
    /// `/config_dump` fails.
    pub nosniff_twice: bool,
}

/// A body.
pub enum Body {
    /// At once.
    Whole(Vec<u8>),
    /// Piece by piece, each made when the one before was taken: a slow reader holds one piece.
    Pieces(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

/// Plain text, as Envoy says it.
pub(super) const TEXT: &str = "text/plain; charset=UTF-8";

/// Plain text without a charset, as Envoy says it where `/config_dump` fails.
pub(super) const BARE_TEXT: &str = "text/plain";

/// JSON.
pub(super) const JSON: &str = "application/json";

// === impl Answer ===

impl Answer {
    /// 200 with text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::status(200, body)
    }

    /// A status with text.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        let body = Body::Whole(body.into().into_bytes());
        Self { status, content_type: TEXT, policy: None, nosniff_twice: false, body }
    }

    /// 200 with JSON, as Envoy prints it.
    pub fn json(value: &Value) -> Self {
        Self { content_type: JSON, ..Self::text(json::pretty(value)) }
    }

    /// The same, made while it is taken.
    pub(super) fn doc(doc: Doc) -> Self {
        Self::pieces(JSON, doc.pieces())
    }

    /// 200 with HTML.
    pub fn html(body: impl Into<String>) -> Self {
        Self { content_type: "text/html; charset=UTF-8", ..Self::text(body) }
    }

    /// 200 in pieces that are made when they are taken.
    pub fn pieces(
        content_type: &'static str,
        pieces: impl Iterator<Item = Vec<u8>> + Send + 'static,
    ) -> Self {
        Self { content_type, body: Body::Pieces(Box::new(pieces)), ..Self::text("") }
    }

    /// The whole body as text.
    pub fn into_text(self) -> String {
        let bytes = match self.body {
            Body::Whole(bytes) => bytes,
            Body::Pieces(pieces) => pieces.flatten().collect(),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What most commands answer.
    pub fn ok(_: &Desk, _: &Ask, applied: Applied) -> Self {
        match applied {
            Applied::Done => Self::text("OK\n"),
            Applied::Told(text) => Self::text(text),
            Applied::Refused(refusal) => Self::refused(&refusal),
        }
    }

    /// What a refused command answers.
    pub fn refused(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NoAdminLayer => Self::status(503, refusal.to_string()),
            Refusal::UnknownLogger(_) => Self::status(400, format!("error: {refusal}\n")),
            Refusal::Configuration(why) => Self::status(400, with_end(why)),
            Refusal::Profiler(_) => Self::status(500, refusal.to_string()),
            Refusal::Endpoints(_) => Self::status(400, format!("{refusal}\n")),
            Refusal::NoActor(_) | Refusal::NoCluster(_) | Refusal::NoName(_) => {
                Self::status(404, format!("{refusal}\n"))
            }
            Refusal::Drill(_) => Self::status(403, format!("{refusal}\n")),
            Refusal::Unavailable(_) => Self::status(503, format!("{refusal}\n")),
        }
    }
}

/// A text that ends with a line's end.
fn with_end(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
