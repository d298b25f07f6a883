//! Owns compiling the HTTP filters of a chain, and what routes say about them.

use understudy_actors::plan::Slot;

use super::{Compiler, rbac::OfRequests};
use crate::{
    codec::Known,
    config::{Message, message::Value, model::http::RouterConfig},
    filter::{Build, KINDS, OfRoute, Placed},
    format::count_wire,
    matcher::HeaderMatcher,
    rbac::{EnforcementMode, Engine},
};

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

impl Compiler<'_> {
    /// The filters before the router, and the router.
    pub(super) fn http_filters(&mut self, manager: &Message) -> (Vec<Placed>, RouterConfig) {
        self.http_filter_chain(manager, "http_filters")
    }

    /// The same of a chain that is in `field` of `holder`.
    pub(super) fn http_filter_chain(
        &mut self,
        holder: &Message,
        field: &str,
    ) -> (Vec<Placed>, RouterConfig) {
        let (mut filters, mut router) = (Vec::new(), None);
        let last = holder.list(field).len().saturating_sub(1);
        for (index, filter) in holder.messages(field).enumerate() {
            let name = filter.text("name").unwrap_or_default();
            let optional = filter.boolean("is_optional").unwrap_or(false);
            let Some(config) = filter.any("typed_config").map(|any| &any.message) else {
                let text = "`typed_config` is missing";
                self.error(filter.at, &filter.path, text, "its `@type` says which filter it is");
                continue;
            };
            if config.name() == ROUTER {
                if index != last {
                    let text = "the router must be the last HTTP filter";
                    self.error(filter.at, &filter.path, text, "move it to the end");
                }
                router = Some(self.router_config(config));
            } else if let Some(kind) = KINDS.iter().find(|kind| kind.config == config.name()) {
                let built = (kind.build)(config, self);
                let disabled = filter.boolean("disabled").unwrap_or(false);
                filters.extend(built.map(|filter| Placed { name: name.into(), filter, disabled }));
            } else if optional {
                self.leave_out(filter, config);
            } else {
                self.refuse_whole(config, config.name());
            }
            if index == last && config.name() != ROUTER {
                let text = "the last HTTP filter must be the router";
                self.error(filter.at, &filter.path, text, "add envoy.filters.http.router");
            }
        }
        (filters, router.unwrap_or_default())
    }

    fn router_config(&mut self, config: &Message) -> RouterConfig {
        config.ignore("dynamic_stats", "all of the router's stats are there in any case");
        config.ignore("start_child_span", "there is no tracing whose span it could be");
        let flag = |message: &Message, name| message.boolean(name).unwrap_or(false);
        let names = config.texts("strict_check_headers");
        let options = config.message("upstream_log_options");
        let upstream_logs = self.logs_of(config, "upstream_log");
        if !upstream_logs.is_empty() {
            // A line tells how much of a try's bodies there was.
            count_wire();
        }
        RouterConfig {
            suppress_envoy_headers: flag(config, "suppress_envoy_headers"),
            respect_expected_rq_timeout: flag(config, "respect_expected_rq_timeout"),
            strict_headers: names.map(|(name, _)| Known::of(name.as_bytes())).collect(),
            upstream_logs,
            logs_upstream_streams: options
                .is_some_and(|options| flag(options, "flush_upstream_log_on_upstream_stream")),
            upstream_log_interval: options
                .and_then(|options| options.duration("upstream_log_flush_interval")),
        }
    }

    /// `is_optional` says that a chain without the filter will do.
    fn leave_out(&mut self, filter: &Message, config: &Message) {
        for set in &config.fields {
            config.ignore(set.field.name, "the filter is optional and left out");
        }
        let text = format!("{} is left out: it is optional and not supported yet", config.name());
        self.notes.warning(filter.at, &filter.path, text, "");
    }

    /// `typed_per_filter_config`, by the filter's name.
    pub(super) fn per_filter(&mut self, holder: &Message) -> Vec<(String, OfRoute)> {
        let mut configs = Vec::new();
        for (name, item) in holder.map("typed_per_filter_config") {
            let Value::Any(any) = &item.value else { continue };
            let config = &any.message;
            let said = match config.name() {
                FILTER_CONFIG => self.filter_config(config),
                _ => self.of_route(config, false),
            };
            configs.extend(said.map(|said| (name.clone(), said)));
        }
        configs
    }

    /// `FilterConfig`: a configuration with switches around it.
    fn filter_config(&mut self, switches: &Message) -> Option<OfRoute> {
        let optional = switches.boolean("is_optional").unwrap_or(false);
        let config = switches.any("config").map(|any| &any.message);
        if switches.boolean("disabled").unwrap_or(false) {
            if let Some(config) = config {
                for set in &config.fields {
                    config.ignore(set.field.name, "the filter is disabled here");
                }
            }
            return Some(OfRoute::Disabled);
        }
        match (config, switches.get("config")) {
            (Some(config), _) => self.of_route(config, optional),
            (None, Some(_)) => Some(OfRoute::Enabled),
            (None, None) => {
                // Observed: Envoy 1.40.
                let text = "Empty route/virtual host per filter configuration";
                let hint = "`config: {}` switches the filter on, `disabled: true` off";
                self.error(switches.at, &switches.path, text, hint);
                None
            }
        }
    }

    fn of_route(&mut self, config: &Message, optional: bool) -> Option<OfRoute> {
        let mut kinds = KINDS.iter().filter_map(|kind| kind.per_route);
        match kinds.find(|per_route| per_route.config == config.name()) {
            Some(per_route) => (per_route.build)(config, self).map(OfRoute::Config),
            None if optional => {
                self.leave_out(config, config);
                None
            }
            None => {
                self.refuse_whole(config, config.name());
                None
            }
        }
    }
}

impl Build for Compiler<'_> {
    fn node_cluster(&self) -> &str {
        &self.node.cluster
    }

    fn cluster(&self, name: &str) -> Slot {
        self.slots.clusters.of(name)
    }

    fn header_matcher(&mut self, matcher: &Message) -> Option<HeaderMatcher> {
        Compiler::header_matcher(self, matcher)
    }

    fn engine(&mut self, of: &Message, mode: EnforcementMode) -> Option<Engine> {
        self.rbac_engine(of, mode, &OfRequests)
    }

    fn error(&mut self, message: &Message, field: &str, text: &str, hint: &str) {
        Compiler::error(self, message.at_of(field), &message.path_of(field), text, hint);
    }
}

/// What is more specific, then what it leaves to be said: the first of a name is in force.
pub(super) fn with_outer(
    mut own: Vec<(String, OfRoute)>,
    outer: &[(String, OfRoute)],
) -> Vec<(String, OfRoute)> {
    own.extend(outer.iter().cloned());
    own
}
