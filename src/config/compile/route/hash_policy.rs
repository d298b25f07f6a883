//! Owns compiling what of a request is hashed.

use super::super::Compiler;
use crate::config::{
    Message,
    model::{
        cookie::Cookie,
        hash_policy::{HashBy, HashPolicy},
    },
};

impl Compiler<'_> {
    /// `hash_policy` of a route, or of a balancer. `filter_state` is left unread, and so refused.
    pub(crate) fn hash_policies(&mut self, holder: &Message) -> Vec<HashPolicy> {
        let policies = holder.messages("hash_policy");
        policies
            .filter_map(|policy| {
                let terminal = policy.boolean("terminal").unwrap_or(false);
                Some(HashPolicy { by: self.hash_by(policy)?, terminal })
            })
            .collect()
    }

    fn hash_by(&mut self, policy: &Message) -> Option<HashBy> {
        if let Some(header) = policy.message("header") {
            let rewrite = header.message("regex_rewrite");
            return Some(HashBy::Header {
                name: header.text("header_name")?.to_ascii_lowercase().into_bytes(),
                rewrite: rewrite.and_then(|rewrite| self.substitution(rewrite)),
            });
        }
        if let Some(cookie) = policy.message("cookie") {
            let text = |message: &Message, name| message.text(name).unwrap_or_default().to_owned();
            let attributes = cookie.messages("attributes");
            return Some(HashBy::Cookie(Cookie {
                name: text(cookie, "name"),
                ttl: cookie.duration("ttl"),
                path: text(cookie, "path"),
                attributes: attributes.map(|one| (text(one, "name"), text(one, "value"))).collect(),
            }));
        }
        if let Some(connection) = policy.message("connection_properties") {
            let by_source = connection.boolean("source_ip").unwrap_or(false);
            return by_source.then_some(HashBy::SourceIp);
        }
        let parameter = policy.message("query_parameter")?;
        Some(HashBy::QueryParameter(parameter.text("name")?.as_bytes().to_vec()))
    }
}
