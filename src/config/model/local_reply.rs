//! Owns the compiled `local_reply_config`: what becomes of replies of our own.

use super::route::HeaderEdits;
use crate::{access_log::LogFilter, format::FormatString};

/// `LocalReplyConfig`
#[derive(Clone, Debug, Default)]
pub struct LocalReplies {
    /// `mappers`: the first that a reply passes changes it.
    pub mappers: Vec<ReplyMapper>,
    /// `body_format`, where no mapper has one of its own.
    pub body_format: Option<FormatString>,
}

/// `ResponseMapper`
#[derive(Clone, Debug)]
pub struct ReplyMapper {
    /// `filter`
    pub filter: LogFilter,
    /// `status_code`
    pub status: Option<u16>,
    /// `body`, in place of the reply's.
    pub body: Option<Vec<u8>>,
    /// `body_format_override`
    pub body_format: Option<FormatString>,
    /// `headers_to_add`
    pub headers: HeaderEdits,
}
