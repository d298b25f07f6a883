//! Owns compiling what becomes of replies of our own.

use super::Compiler;
use crate::config::{
    Message,
    model::{
        local_reply::{LocalReplies, ReplyMapper},
        route::HeaderEdits,
    },
};

impl Compiler<'_> {
    /// `local_reply_config`
    pub(super) fn local_replies(&mut self, manager: &Message) -> Option<LocalReplies> {
        let config = manager.message("local_reply_config")?;
        let mappers = config.messages("mappers").filter_map(|mapper| self.reply_mapper(mapper));
        let mappers = mappers.collect();
        let body_format = config.message("body_format");
        let body_format = body_format.and_then(|format| self.format_string(format));
        Some(LocalReplies { mappers, body_format })
    }

    fn reply_mapper(&mut self, mapper: &Message) -> Option<ReplyMapper> {
        let add = mapper.messages("headers_to_add");
        let add = add.filter_map(|option| self.header_edit(option)).collect();
        let body = mapper.message("body").and_then(|body| self.data_source(body));
        let body_format = mapper.message("body_format_override");
        let body_format = body_format.and_then(|format| self.format_string(format));
        let status = mapper.number("status_code").and_then(|status| u16::try_from(status).ok());
        let filter = self.log_filter(mapper.message("filter")?)?;
        let headers = HeaderEdits { remove: Vec::new(), add };
        Some(ReplyMapper { filter, status, body, body_format, headers })
    }
}
