//! Owns compiling retry policies.

use std::time::Duration;

use super::super::{Compiler, http::limit, lb_metadata::lb_metadata};
use crate::config::{
    Message,
    model::route::{BackOff, ResetHeader, RetryOn, RetryPolicy},
};

/// Envoy's `rate_limited_retry_back_off.max_interval` default.
const RESET_MAX: Duration = Duration::from_secs(300);

/// Shorter waits between tries are as long as this. Observed: Envoy 1.40.
const WAIT_MIN: Duration = Duration::from_millis(1);

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

const OMIT_CANARIES: &str =
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";

const OMIT_METADATA: &str =
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig";

const PREVIOUS_PRIORITIES: &str =
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";

impl Compiler<'_> {
    /// `envoy.config.route.v3.RetryPolicy`
    pub(super) fn retry_policy(&mut self, policy: &Message) -> RetryPolicy {
        let (on, unknown) = RetryOn::parse(policy.text("retry_on").unwrap_or_default().as_bytes());
        for name in unknown {
            let text =
                format!("`{}` means nothing to a retry policy", String::from_utf8_lossy(name));
            let hint = "Envoy passes over it, too; a status is `retriable-status-codes`";
            self.notes.warning(policy.at_of("retry_on"), &policy.path_of("retry_on"), text, hint);
        }
        let codes = policy.numbers("retriable_status_codes").into_iter();
        let status_codes = codes.filter_map(|code| u16::try_from(code).ok()).collect();
        let (mut avoids_tried_hosts, mut avoids_canaries) = (false, false);
        let mut avoided_metadata = Vec::new();
        for predicate in policy.messages("retry_host_predicate") {
            predicate.ignore("name", "free text; the type decides");
            match predicate.any("typed_config").map(|any| (any.message.name(), &any.message)) {
                Some((PREVIOUS_HOSTS, _)) => avoids_tried_hosts = true,
                Some((OMIT_CANARIES, _)) => avoids_canaries = true,
                Some((OMIT_METADATA, config)) => {
                    avoided_metadata.push(lb_metadata(config, "metadata_match"));
                }
                Some((other, config)) => self.refuse_whole(config, other),
                None => self.nameless(predicate),
            }
        }
        let mut leaves_priorities_every = None;
        if let Some(priority) = policy.message("retry_priority") {
            priority.ignore("name", "free text; the type decides");
            match priority.any("typed_config").map(|any| (any.message.name(), &any.message)) {
                Some((PREVIOUS_PRIORITIES, config)) => {
                    let every = config.integer("update_frequency").unwrap_or(0);
                    leaves_priorities_every = u32::try_from(every).ok().filter(|every| *every > 0);
                }
                Some((other, config)) => self.refuse_whole(config, other),
                None => self.nameless(priority),
            }
        }
        let reset = policy.message("rate_limited_retry_back_off");
        let reset_headers = reset.into_iter().flat_map(|reset| reset.messages("reset_headers"));
        RetryPolicy {
            on,
            retries: policy.number_u32("num_retries").unwrap_or(1),
            per_try_timeout: limit(policy.duration("per_try_timeout"), None),
            per_try_idle_timeout: limit(policy.duration("per_try_idle_timeout"), None),
            status_codes,
            response_headers: self.header_matchers(policy, "retriable_headers"),
            request_headers: self.header_matchers(policy, "retriable_request_headers"),
            back_off: self.back_off(policy),
            reset_headers: reset_headers.map(reset_header).collect(),
            reset_max: reset
                .and_then(|reset| reset.duration("max_interval"))
                .map_or(RESET_MAX, |max| max.max(WAIT_MIN)),
            avoids_tried_hosts,
            avoids_canaries,
            avoided_metadata,
            leaves_priorities_every,
            other_hosts_max: policy
                .integer("host_selection_retry_max_attempts")
                .filter(|attempts| *attempts != 0)
                .map_or(1, |attempts| u32::try_from(attempts).unwrap_or(1)),
        }
    }

    fn header_matchers(
        &mut self,
        policy: &Message,
        field: &str,
    ) -> Vec<crate::matcher::HeaderMatcher> {
        policy.messages(field).filter_map(|matcher| self.header_matcher(matcher)).collect()
    }

    fn back_off(&mut self, policy: &Message) -> BackOff {
        let Some(own) = policy.message("retry_back_off") else { return BackOff::default() };
        let interval = |name: &str| own.duration(name).map(|interval| interval.max(WAIT_MIN));
        let (base, max) = (interval("base_interval"), interval("max_interval"));
        if max.is_some_and(|max| base.is_some_and(|base| max < base)) {
            let text = "retry_policy.max_interval must greater than or equal to the base_interval";
            self.error(own.at_of("max_interval"), &own.path_of("max_interval"), text, "");
        }
        BackOff { base, max }
    }

    /// An extension that names itself and has no `typed_config`.
    fn nameless(&mut self, extension: &Message) {
        let text = "`typed_config` is missing";
        self.error(extension.at, &extension.path, text, "its `@type` says which extension it is");
    }
}

fn reset_header(header: &Message) -> ResetHeader {
    ResetHeader {
        name: header.text("name").unwrap_or_default().to_ascii_lowercase(),
        is_timestamp: header.choice("format") == Some("UNIX_TIMESTAMP"),
    }
}
