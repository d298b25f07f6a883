//! Owns the route table: a route configuration compiled for look-up.

use super::{domains::Domains, paths::Paths};
use crate::config::model::route::{
    PathMatch, Route, RouteConfig, RouteMatch, RuntimeFraction, VirtualHost,
};

/// A route configuration and its indexes. Immutable; a new configuration is a new table.
#[derive(Debug)]
pub struct RouteTable {
    config: RouteConfig,
    domains: Domains,
    paths: Vec<Paths>,
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its virtual host.
    pub virtual_host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
}

// === impl RouteTable ===

impl RouteTable {
    /// Builds the indexes.
    pub fn new(config: RouteConfig) -> Self {
        let mut domains = Domains::default();
        for (host, virtual_host) in config.virtual_hosts.iter().enumerate() {
            virtual_host.domains.iter().for_each(|domain| domains.add(domain, host));
        }
        let paths = (config.virtual_hosts.iter())
            .map(|host| Paths::index(host.routes.iter().map(|route| &route.matcher)))
            .collect();
        Self { config, domains, paths }
    }

    /// The configuration behind the table.
    pub fn config(&self) -> &RouteConfig {
        &self.config
    }

    /// The first route that takes the request; `path` may have a query. `draw` says whether the request
    /// is one of a share of them.
    pub fn find(
        &self,
        authority: &[u8],
        path: &[u8],
        draw: impl Fn(&RuntimeFraction) -> bool,
    ) -> Option<Found<'_>> {
        let host = self.domains.find(authority)?;
        let virtual_host = self.config.virtual_hosts.get(host)?;
        let path = without_query(path);
        let rule = |route: usize| &virtual_host.routes[route].matcher;
        let fits = |route: usize| rule(route).fraction.as_ref().is_none_or(&draw);
        let route = self.paths.get(host)?.find(path, |route| takes(rule(route), path), fits)?;
        Some(Found { virtual_host, route: virtual_host.routes.get(route)? })
    }
}

/// The path before `?`; routes match without the query.
fn without_query(path: &[u8]) -> &[u8] {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => &path[..at],
        None => path,
    }
}

/// Whether a rule takes a path, said plainly; the index must agree with it.
fn takes(rule: &RouteMatch, path: &[u8]) -> bool {
    let starts = |text: &[u8]| path.get(..text.len()).is_some_and(|head| same(rule, head, text));
    match &rule.path {
        PathMatch::Prefix(prefix) => starts(prefix.as_bytes()),
        PathMatch::Exact(whole) => same(rule, path, whole.as_bytes()),
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

fn same(rule: &RouteMatch, path: &[u8], text: &[u8]) -> bool {
    match rule.case_sensitive {
        true => path == text,
        false => path.eq_ignore_ascii_case(text),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use regex::bytes::Regex;
    use understudy_actors::runtime::Share;

    use super::*;
    use crate::config::model::route::{DirectResponse, RouteAction};

    fn route(path: PathMatch, case_sensitive: bool) -> Route {
        drawn_route(path, case_sensitive, None)
    }

    /// A share of 100 % is drawn, every other is not.
    fn drawn_route(path: PathMatch, case_sensitive: bool, percent: Option<u32>) -> Route {
        let direct = DirectResponse { status: 200, body: Vec::new(), format: None };
        let share = percent.map(|numerator| Share { numerator, denominator: 100 });
        let fraction = share.map(|default| RuntimeFraction { default, key: String::new() });
        Route {
            name: String::new(),
            matcher: RouteMatch { path, case_sensitive, fraction },
            action: RouteAction::Direct(Arc::new(direct)),
            filter_configs: Vec::new(),
            mutations: None,
            metadata: None,
        }
    }

    fn table(routes: Vec<Route>) -> RouteTable {
        let domains = vec!["*".to_owned()];
        let virtual_hosts = vec![VirtualHost { name: "all".to_owned(), domains, routes }];
        RouteTable::new(RouteConfig { name: "local_route".to_owned(), virtual_hosts })
    }

    fn drawn(fraction: &RuntimeFraction) -> bool {
        fraction.default.numerator == 100
    }

    fn position(table: &RouteTable, path: &str) -> Option<usize> {
        let found = table.find(b"any", path.as_bytes(), drawn)?;
        found.virtual_host.routes.iter().position(|route| std::ptr::eq(route, found.route))
    }

    #[test]
    fn the_first_match_wins_and_the_query_does_not_count() {
        let regex = Regex::new("^(?:/re/[0-9]+)$").unwrap();
        let table = table(vec![
            route(PathMatch::Exact("/exact".to_owned()), true),
            route(PathMatch::Regex(regex), true),
            route(PathMatch::Prefix("/service/1".to_owned()), true),
            route(PathMatch::Prefix("/NoCase".to_owned()), false),
            route(PathMatch::Prefix("/service".to_owned()), true),
        ]);
        for (path, expected) in [
            ("/exact?a=/service", Some(0)),
            ("/exactx", None),
            ("/re/12", Some(1)),
            ("/re/12x", None),
            ("/service/1", Some(2)),
            ("/service/12", Some(2)),
            ("/service/2", Some(4)),
            ("/nocase/x", Some(3)),
            ("/", None),
        ] {
            assert_eq!(position(&table, path), expected, "{path}");
        }
    }

    fn any_match() -> impl Strategy<Value = (PathMatch, bool, Option<u32>)> {
        let text = "[/ab]{0,4}";
        let regex = |t: String| Regex::new(&format!("^(?:{t}[ab]*)$")).unwrap();
        let path = prop_oneof![
            text.prop_map(PathMatch::Prefix),
            text.prop_map(PathMatch::Exact),
            "[/ab]{0,2}".prop_map(move |t| PathMatch::Regex(regex(t))),
        ];
        (path, any::<bool>(), prop_oneof![Just(None), Just(Some(100)), Just(Some(0))])
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_plain_scan_finds(
            rules in prop::collection::vec(any_match(), 0..12),
            path in "[/abA]{0,6}(\\?a)?",
        ) {
            let rules = rules.into_iter();
            let table = table(rules.map(|(path, case, percent)| drawn_route(path, case, percent)).collect());
            let routes = &table.config().virtual_hosts[0].routes;
            let bare = without_query(path.as_bytes());
            let fits = |rule: &RouteMatch| rule.fraction.as_ref().is_none_or(drawn);
            let scanned = routes.iter().map(|route| &route.matcher);
            let scanned = scanned.enumerate().find(|(_, rule)| takes(rule, bare) && fits(rule));
            let scanned = scanned.map(|(at, _)| at);
            prop_assert_eq!(position(&table, &path), scanned);
        }
    }
}
