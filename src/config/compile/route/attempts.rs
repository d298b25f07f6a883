//! Owns compiling what a route says about tries.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::super::{Compiler, http::limit};
use crate::config::{
    Message,
    model::route::{Attempts, GrpcTimeout, Mirror, RetryPolicy, StreamDuration, Tells},
};

/// What a virtual host says about tries, for its routes that say nothing.
#[derive(Default)]
pub(super) struct HostAttempts<'m> {
    host: Option<&'m Message>,
    retry: Option<Arc<RetryPolicy>>,
    mirrors: Vec<Mirror>,
    hedges: bool,
    tells: Tells,
}

/// What stands above a route's action.
#[derive(Clone, Copy)]
pub(super) struct Above<'m> {
    pub(super) host: &'m HostAttempts<'m>,
    pub(super) route: &'m Message,
    /// Clusters that there are, where it matters.
    pub(super) clusters: Option<&'m HashSet<String>>,
}

impl Compiler<'_> {
    pub(super) fn host_attempts<'m>(
        &mut self,
        host: &'m Message,
        table_mirrors: &[Mirror],
        clusters: Option<&HashSet<String>>,
    ) -> HostAttempts<'m> {
        let mut mirrors = self.mirrors(host, clusters);
        if mirrors.is_empty() {
            mirrors = table_mirrors.to_vec();
        }
        let flag = |name: &str| host.boolean(name).unwrap_or(false);
        let tells = Tells {
            count_upstream: flag("include_request_attempt_count"),
            count_downstream: flag("include_attempt_count_in_response"),
            timeout_retry: flag("include_is_timeout_retry_header"),
        };
        let retry = host.message("retry_policy").map(|policy| Arc::new(self.retry_policy(policy)));
        let hedges = host.message("hedge_policy").is_some_and(hedges);
        HostAttempts { host: Some(host), retry, mirrors, hedges, tells }
    }

    /// The tries of a route that leads to a cluster.
    pub(super) fn attempts(&mut self, action: &Message, above: Above<'_>) -> Attempts {
        let own = action.message("retry_policy").map(|policy| Arc::new(self.retry_policy(policy)));
        let retry = own.or_else(|| above.host.retry.clone());
        let hedges = action.message("hedge_policy").map_or(above.host.hedges, hedges);
        let stream_duration = action.message("max_stream_duration").map(|own| StreamDuration {
            max: own.duration("max_stream_duration"),
            grpc_header_max: own.duration("grpc_timeout_header_max"),
            grpc_header_offset: own.duration("grpc_timeout_header_offset"),
        });
        let grpc_offset = action.duration("grpc_timeout_offset");
        let grpc_timeout =
            action.duration("max_grpc_timeout").map(|max| GrpcTimeout { max, offset: grpc_offset });
        let tells = above.host.tells;
        let mut mirrors = self.mirrors(action, above.clusters);
        if mirrors.is_empty() {
            mirrors.clone_from(&above.host.mirrors);
        }
        let internal_redirect = self.internal_redirect(action);
        let high_priority = action.choice("priority") == Some("HIGH");
        let plain = retry.is_none()
            && !high_priority
            && mirrors.is_empty()
            && internal_redirect.is_none()
            && stream_duration.is_none()
            && grpc_timeout.is_none()
            && tells == Tells::default();
        Attempts {
            plain,
            high_priority,
            mirrors,
            internal_redirect,
            retry,
            buffer_bytes_max: self.body_bytes_kept(above),
            stream_duration,
            grpc_timeout,
            hedges,
            tells,
        }
    }

    /// How much of a body is kept to be sent again: what the route says, or its virtual host, or what
    /// the listener lets a connection hold.
    fn body_bytes_kept(&self, above: Above<'_>) -> usize {
        let said = |message: &Message| {
            let (old, new) = ("per_request_buffer_limit_bytes", "request_body_buffer_limit");
            message.number(new).or(message.number(old))
        };
        let bytes = [Some(above.route), above.host.host].into_iter().flatten().find_map(said);
        bytes.map_or(self.connection_buffer_bytes, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        })
    }
}

/// `envoy.config.route.v3.HedgePolicy`
fn hedges(policy: &Message) -> bool {
    for name in ["initial_requests", "additional_request_chance"] {
        policy.ignore(name, "Envoy 1.40 does nothing with it either");
    }
    policy.boolean("hedge_on_per_try_timeout").unwrap_or(false)
}

/// `timeout` as it is in force, and what the upstream is told of it, in milliseconds.
pub(super) fn timeouts(
    action: &Message,
    attempts: &Attempts,
    default: Duration,
) -> (Option<Duration>, String) {
    let timeout = match attempts.stream_duration {
        // Source: `max_stream_duration`, which "overrides" `timeout`. Observed: Envoy 1.40.
        Some(_) => {
            action.duration("timeout");
            None
        }
        None => limit(action.duration("timeout"), Some(default)),
    };
    let per_try = attempts.retry.as_ref().and_then(|retry| retry.per_try_timeout);
    let told = per_try.filter(|own| timeout.is_none_or(|whole| *own < whole)).or(timeout);
    (timeout, told.map(|told| told.as_millis().to_string()).unwrap_or_default())
}
