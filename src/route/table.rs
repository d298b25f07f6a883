//! Owns the route table: a route configuration compiled for look-up.

use std::{borrow::Cow, sync::Arc};

use understudy_actors::runtime::Share;

use super::{
    domains::Domains,
    matching::Miss,
    search::{Search, tried},
};
use crate::{
    codec::{Known, RequestHead},
    config::model::{
        hash_policy::HashPolicy,
        route::{
            ClusterChoice, ClusterWeight, PathMatch, Redirect, RequireTls, Route, RouteAction,
            RouteConfig, RouteMatch, RuntimeFraction, VirtualHost,
        },
    },
    filter::OfRoute,
    filter_state::FilterState,
    matcher::HeaderMatcher,
};

/// A route configuration and its indexes. Immutable; a new configuration is a new table.
#[derive(Debug)]
pub struct RouteTable {
    config: RouteConfig,
    domains: Domains,
    /// Of each virtual host.
    searches: Vec<Search>,
    /// Where a virtual host that wants TLS sends those who come without.
    to_https: Route,
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its virtual host.
    pub virtual_host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
    /// Which of its `weighted_clusters`, once it was drawn.
    pub part: Option<&'a ClusterWeight>,
}

/// What decides where it is not the request alone.
pub trait Lots {
    /// Whether `number` falls into the share that a key of the runtime sets, or into `default`.
    fn takes(&self, key: &str, default: Share, number: u64) -> bool;

    /// Whether the request is one of a share of all requests.
    fn draws(&self, fraction: &RuntimeFraction) -> bool {
        self.takes(&fraction.key, fraction.default, self.number())
    }

    /// The request's number, the same for all its lots.
    fn number(&self) -> u64;
    /// The weight that the runtime has for a key, or else this.
    fn weight(&self, key: &str, default: u32) -> u32;
    /// Whether the certificate that the client has shown is one that we trust; none where it has shown none.
    fn certificate(&self) -> Option<bool>;
    /// What was left of the connection for others.
    fn filter_state(&self) -> Option<&FilterState>;
    /// What these policies make of the request and of whom it is from; none where they find nothing.
    fn hash(&self, policies: &[HashPolicy], request: &RequestHead) -> Option<u64>;
}

// === impl Found ===

impl Found<'_> {
    /// Whether its requests are counted apart, by virtual cluster or route.
    #[inline]
    pub fn is_counted_apart(&self) -> bool {
        !self.virtual_host.virtual_clusters.is_empty() || !self.route.stat_prefix.is_empty()
    }

    /// The virtual cluster that takes the request.
    pub fn virtual_cluster(&self, request: &RequestHead) -> Option<&str> {
        let fits = |matchers: &[HeaderMatcher]| matchers.iter().all(|one| one.matches(request));
        let mut clusters = self.virtual_host.virtual_clusters.iter();
        clusters.find(|cluster| fits(&cluster.headers)).map(|cluster| cluster.name.as_str())
    }

    /// The configuration for the filter of this name: the most specific one.
    pub fn filter_config(&self, name: &str) -> Option<&OfRoute> {
        let part = self.part.map(|part| &part.filter_configs);
        let own = part.and_then(|own| own.iter().find(|(known, _)| known == name));
        own.map(|(_, config)| config).or_else(|| self.route.filter_config(name))
    }
}

// === impl RouteTable ===

impl RouteTable {
    /// Builds the indexes.
    pub fn new(config: RouteConfig) -> Self {
        let mut domains = Domains::default();
        for (host, virtual_host) in config.virtual_hosts.iter().enumerate() {
            virtual_host.domains.iter().for_each(|domain| domains.add(domain, host));
        }
        let searches = config.virtual_hosts.iter().map(Search::of).collect();
        Self { config, domains, searches, to_https: to_https() }
    }

    /// The configuration behind the table.
    pub fn config(&self) -> &RouteConfig {
        &self.config
    }

    /// The virtual host that takes a request, whatever its routes do.
    pub fn virtual_host_of(&self, request: &RequestHead) -> Option<&VirtualHost> {
        self.virtual_host(request).map(|(_, host)| host)
    }

    /// The virtual host for a request, and its place in the configuration.
    fn virtual_host(&self, request: &RequestHead) -> Option<(usize, &VirtualHost)> {
        let mut authority = request.authority();
        if self.config.vhost_header.is_some() || self.config.ignore_port {
            authority = self.host_name(request)?;
        }
        let host = self.domains.find(authority)?;
        Some((host, self.config.virtual_hosts.get(host)?))
    }

    /// What names the virtual host where it is not the whole authority.
    #[cold]
    fn host_name<'r>(&self, request: &'r RequestHead) -> Option<&'r [u8]> {
        let name = match &self.config.vhost_header {
            Some(header) => request.headers.get_name(header)?,
            None => request.authority(),
        };
        Some(if self.config.ignore_port { without_port(name) } else { name })
    }

    /// The first route that takes the request.
    pub fn find(&self, request: &RequestHead, lots: &impl Lots) -> Option<Found<'_>> {
        let (at, virtual_host) = self.virtual_host(request)?;
        if virtual_host.require_tls != RequireTls::None
            && wants_https(virtual_host.require_tls, request)
        {
            return Some(Found { virtual_host, route: &self.to_https, part: None });
        }
        let path = self.path(request);
        let is_for = |route: &&Route| route.matcher.check(request, &path, lots).is_ok();
        let route = match self.searches.get(at)? {
            Search::InTurn => virtual_host.routes.iter().find(is_for)?,
            Search::Matched => {
                let tried = tried(virtual_host, request, lots);
                virtual_host.routes.get(tried)?.iter().find(is_for)?
            }
            Search::Indexed(paths) => {
                let fits = |route: &Route| route.matcher.check_conditions(request, lots).is_ok();
                let takes = |route: &Route| route.matcher.takes(request, &path);
                let routes = &virtual_host.routes;
                routes.get(paths.find(&path, |at| takes(&routes[at]), |at| fits(&routes[at]))?)?
            }
        };
        let mut found = Found { virtual_host, route, part: None };
        if let RouteAction::Forward(forward) = &route.action
            && let ClusterChoice::Weighted(weighted) = &forward.cluster
        {
            found.part = Some(weighted.pick(&forward.hash, request, lots)?);
        }
        Some(found)
    }

    /// The virtual host that takes the request, be there a route for it or not.
    pub fn host_for(&self, request: &RequestHead) -> Option<&VirtualHost> {
        self.virtual_host(request).map(|(_, host)| host)
    }

    /// Whether the route is that of all requests that must come again by TLS.
    pub fn is_to_https(&self, route: &Route) -> bool {
        std::ptr::eq(route, &self.to_https)
    }

    /// The routes that the request comes to before the one that takes it, and what each was missed by.
    pub fn misses<'t>(
        &'t self,
        request: &'t RequestHead,
        lots: &'t impl Lots,
    ) -> impl Iterator<Item = (usize, &'t Route, Miss<'t>)> {
        let host = self.host_for(request);
        let tried = host.map_or(0..0, |host| tried(host, request, lots));
        let routes = host.into_iter().flat_map(|host| host.routes.iter().enumerate());
        let routes = routes.skip(tried.start).take(tried.len());
        let path = self.path(request);
        routes.map_while(move |(at, route)| {
            route.matcher.check(request, &path, lots).err().map(|miss| (at, route, miss))
        })
    }

    /// What routes see of the request's path.
    #[inline]
    fn path<'r>(&self, request: &'r RequestHead) -> Cow<'r, [u8]> {
        let path = without_query(request.path());
        match self.config.ignore_path_parameters {
            true => without_parameters(path),
            false => Cow::Borrowed(path),
        }
    }
}

/// The redirect of `require_tls`: a port stays, even 80. Observed: Envoy 1.40.
fn to_https() -> Route {
    let scheme = "https".to_owned();
    let redirect = Redirect { scheme, keep_port: true, status: 301, ..Redirect::default() };
    Route {
        name: String::new(),
        matcher: RouteMatch {
            path: PathMatch::Prefix(String::new()),
            case_sensitive: true,
            conditions: Vec::new(),
        },
        action: RouteAction::Redirect(Arc::new(redirect)),
        filter_configs: Vec::new(),
        mutations: None,
        stat_prefix: String::new(),
        metadata: None,
    }
}

/// Whether the request must come again by TLS. How it came, `x-forwarded-proto` says.
#[cold]
fn wants_https(required: RequireTls, request: &RequestHead) -> bool {
    let inside = request.headers.has(Known::XEnvoyInternal);
    let spared = required == RequireTls::ExternalOnly && inside;
    request.headers.get(Known::XForwardedProto) != Some(b"https") && !spared
}

/// The path before `?`; routes match without the query.
#[inline]
fn without_query(path: &[u8]) -> &[u8] {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => &path[..at],
        None => path,
    }
}

/// The path without what follows a `;` in each of its segments.
fn without_parameters(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b';') {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut inside = false;
    for byte in path {
        inside = *byte == b';' || (inside && *byte != b'/');
        if !inside {
            out.push(*byte);
        }
    }
    Cow::Owned(out)
}

/// A host without its port, whatever that is; the colons of a bracketed IPv6 address are not one.
///
/// Observed: Envoy 1.40, `ignore_port_in_host_matching` with `b.test:` and `b.test:abc`.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::Method,
        config::model::route::{Condition, DirectResponse},
        matcher::{HeaderMatcher, HeaderTest, QueryMatcher, QueryTest},
        uri_template::PathTemplate,
    };
    use proptest::prelude::*;
    use regex::bytes::Regex;

    fn route(path: PathMatch, case_sensitive: bool, conditions: Vec<Condition>) -> Route {
        let direct = DirectResponse { status: 200, body: Vec::new(), format: None };
        Route {
            name: String::new(),
            matcher: RouteMatch { path, case_sensitive, conditions },
            action: RouteAction::Direct(Arc::new(direct)),
            filter_configs: Vec::new(),
            mutations: None,
            stat_prefix: String::new(),
            metadata: None,
        }
    }

    fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        VirtualHost {
            name: name.to_owned(),
            domains,
            routes,
            matcher: None,
            require_tls: RequireTls::None,
            virtual_clusters: Vec::new(),
            metadata: None,
        }
    }

    fn config(virtual_hosts: Vec<VirtualHost>) -> RouteConfig {
        RouteConfig {
            name: "local_route".to_owned(),
            virtual_hosts,
            ignore_port: false,
            vhost_header: None,
            ignore_path_parameters: false,
            internal_only_headers: Vec::new(),
        }
    }

    fn table(routes: Vec<Route>) -> RouteTable {
        RouteTable::new(config(vec![host("all", &["*"], routes)]))
    }

    fn request(path: &str) -> RequestHead {
        let mut request = RequestHead::default();
        request.set_authority(b"any");
        request.set_path(path.as_bytes());
        request
    }

    /// A share of 100 % is drawn, every other is not.
    struct Whole;

    impl Lots for Whole {
        fn takes(&self, _: &str, default: Share, _: u64) -> bool {
            default.numerator == 100
        }

        fn number(&self) -> u64 {
            0
        }

        fn certificate(&self) -> Option<bool> {
            None
        }

        fn filter_state(&self) -> Option<&FilterState> {
            None
        }

        fn weight(&self, _: &str, default: u32) -> u32 {
            default
        }

        fn hash(&self, _: &[HashPolicy], _: &RequestHead) -> Option<u64> {
            None
        }
    }

    /// A virtual host whose matcher has two actions: three routes, or one.
    #[test]
    fn a_matcher_says_which_routes_are_tried() {
        use crate::matcher::{
            HeaderName, TextMatcher, TextTest,
            tree::{Branches, Input, OnMatch, Predicate, Test, Tree},
        };
        let prefix = |path: &str| route(PathMatch::Prefix(path.to_owned()), true, Vec::new());
        let routes = vec![prefix("/a"), prefix("/b"), prefix("/c"), prefix("/b")];
        let test = Test::Text(TextMatcher::new(TextTest::Exact(b"1".as_slice().into()), false));
        let is_one = Predicate::Single(Input::Header(HeaderName::new("x")), test);
        let matcher = Tree {
            branches: Branches::List(vec![(is_one, OnMatch::Action(0..3))]),
            otherwise: Some(OnMatch::Action(3..4)),
        };
        let host = VirtualHost { matcher: Some(matcher), ..host("all", &["*"], routes) };
        let table = RouteTable::new(config(vec![host]));
        for (header, path, expected, missed) in [
            ("1", "/b", Some(1), &[0][..]),
            ("1", "/z", None, &[0, 1, 2]),
            ("2", "/b", Some(3), &[]),
            ("2", "/a", None, &[3]),
        ] {
            let mut request = request(path);
            request.headers.append_name(b"x", header.as_bytes());
            assert_eq!(position(&table, &request), expected, "{header} {path}");
            let misses = table.misses(&request, &Whole).map(|(at, ..)| at).collect::<Vec<_>>();
            assert_eq!(misses, missed, "{header} {path}");
        }
    }

    fn position(table: &RouteTable, request: &RequestHead) -> Option<usize> {
        let found = table.find(request, &Whole)?;
        found.virtual_host.routes.iter().position(|route| std::ptr::eq(route, found.route))
    }

    #[test]
    fn the_first_match_wins_and_the_query_does_not_count() {
        let regex = Regex::new("^(?:/re/[0-9]+)$").unwrap();
        let text = str::to_owned;
        let template = PathTemplate::new("/t/{x}/**").unwrap();
        let routes = || {
            vec![
                route(PathMatch::Exact(text("/exact")), true, Vec::new()),
                route(
                    PathMatch::Regex { text: String::new(), regex: regex.clone() },
                    true,
                    Vec::new(),
                ),
                route(PathMatch::Prefix(text("/service/1")), true, Vec::new()),
                route(PathMatch::Prefix(text("/NoCase")), false, Vec::new()),
                route(PathMatch::Separated(text("/Seg")), false, Vec::new()),
                route(PathMatch::Prefix(text("/service")), true, Vec::new()),
            ]
        };
        let mut many = routes();
        many.push(route(PathMatch::Template(template), true, Vec::new()));
        for (table, last) in [(table(routes()), None), (table(many), Some(6))] {
            for (path, expected) in [
                ("/exact?a=/service", Some(0)),
                ("/exactx", None),
                ("/re/12", Some(1)),
                ("/re/12x", None),
                ("/service/1", Some(2)),
                ("/service/12", Some(2)),
                ("/service/2", Some(5)),
                ("/nocase/x", Some(3)),
                ("/SEG", Some(4)),
                ("/seg/x?y", Some(4)),
                ("/segment", None),
                ("/t/a/b/c", last),
                ("/", None),
            ] {
                assert_eq!(position(&table, &request(path)), expected, "{path}");
            }
        }
    }

    #[test]
    fn a_table_may_name_its_hosts_otherwise_and_send_their_clients_to_https() {
        let all = || vec![route(PathMatch::Prefix("/a/b".to_owned()), true, Vec::new())];
        let hosts = || vec![host("one", &["one"], all()), host("six", &["[::1]"], all())];
        let ignore_port = RouteConfig { ignore_port: true, ..config(hosts()) };
        let vhost_header = Some(b"x-host".to_vec());
        let by_header = RouteConfig { vhost_header, ..config(hosts()) };
        let no_parameters = RouteConfig { ignore_path_parameters: true, ..config(hosts()) };
        let mut tls = config(hosts());
        tls.virtual_hosts[0].require_tls = RequireTls::All;
        tls.virtual_hosts[1].require_tls = RequireTls::ExternalOnly;
        let plain: &[(&str, &str)] = &[];
        let secure: &[(&str, &str)] = &[("x-forwarded-proto", "https")];
        let inside: &[(&str, &str)] = &[("x-envoy-internal", "true")];
        for (config, authority, path, headers, expected) in [
            (config(hosts()), "one:80", "/a/b", plain, "-"),
            (ignore_port, "one:80", "/a/b", plain, "one"),
            (config(hosts()), "[::1]", "/a/b", plain, "six"),
            (by_header, "one", "/a/b", &[("x-host", "[::1]")], "six"),
            (no_parameters, "one", "/a;x=1/b;y?z", plain, "one"),
            (config(hosts()), "one", "/a;x=1/b;y?z", plain, "-"),
        ] {
            let mut request = request(path);
            request.set_authority(authority.as_bytes());
            for (name, value) in headers {
                request.headers.append_name(name.as_bytes(), value.as_bytes());
            }
            let table = RouteTable::new(config);
            let found = table.find(&request, &Whole).map(|found| found.virtual_host.name.as_str());
            assert_eq!(found.unwrap_or("-"), expected, "{authority} {path}");
        }
        let tls = RouteTable::new(tls);
        for (authority, path, headers, sent) in [
            ("one", "/a/b", plain, true),
            ("one", "/nowhere", plain, true),
            ("one", "/a/b", secure, false),
            ("one", "/a/b", inside, true),
            ("[::1]", "/a/b", plain, true),
            ("[::1]", "/a/b", inside, false),
        ] {
            let mut request = request(path);
            request.set_authority(authority.as_bytes());
            for (name, value) in headers {
                request.headers.append_name(name.as_bytes(), value.as_bytes());
            }
            let found = tls.find(&request, &Whole).unwrap();
            let redirects = matches!(found.route.action, RouteAction::Redirect(_));
            assert_eq!(redirects, sent, "{authority} {path} {headers:?}");
        }
    }

    fn any_condition() -> impl Strategy<Value = Condition> {
        let share = |numerator| Share { numerator, denominator: 100 };
        let fraction =
            move |n| Condition::Fraction(RuntimeFraction { default: share(n), key: String::new() });
        let present =
            |inverted| HeaderMatcher::new("x", HeaderTest::Present(true), inverted, false);
        prop_oneof![
            prop_oneof![Just(0), Just(100)].prop_map(fraction),
            any::<bool>().prop_map(move |inverted| Condition::Header(present(inverted))),
            any::<bool>().prop_map(|there| {
                Condition::Query(QueryMatcher::new("a", QueryTest::Present(there)))
            }),
            Just(()).prop_map(|()| Condition::Grpc),
            any::<bool>().prop_map(|presented| Condition::Certificate {
                presented: Some(presented),
                validated: None
            }),
            any::<bool>()
                .prop_map(|inverted| Condition::Metadata { filter: String::new(), inverted }),
        ]
    }

    fn any_match() -> impl Strategy<Value = RouteMatch> {
        let text = "[/abA]{0,4}";
        let regex = |t: String| Regex::new(&format!("^(?:{t}[ab]*)$")).unwrap();
        let templates = prop_oneof![Just("/{x}"), Just("/a/**"), Just("/{x=a/*}"), Just("/*/b")];
        let path = prop_oneof![
            text.prop_map(PathMatch::Prefix),
            text.prop_map(PathMatch::Exact),
            text.prop_map(PathMatch::Separated),
            "[/ab]{0,2}".prop_map(move |t| PathMatch::Regex { text: t.clone(), regex: regex(t) }),
            templates.prop_map(|t| PathMatch::Template(PathTemplate::new(t).unwrap())),
            Just(()).prop_map(|()| PathMatch::Connect),
        ];
        let conditions = prop::collection::vec(any_condition(), 0..2);
        let rule =
            |(path, case_sensitive, conditions)| RouteMatch { path, case_sensitive, conditions };
        (path, any::<bool>(), conditions).prop_map(rule)
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_plain_scan_finds(
            rules in prop::collection::vec(any_match(), 0..14),
            path in "[/abA]{0,6}(\\?a)?",
            header in any::<bool>(),
            connect in prop::bool::weighted(0.1),
        ) {
            let routes = rules.into_iter().map(|rule| {
                route(rule.path, rule.case_sensitive, rule.conditions)
            });
            let table = table(routes.collect());
            let mut request = request(&path);
            if header {
                request.headers.append_name(b"x", b"1");
            }
            if connect {
                request.method = Method::Connect;
            }
            let bare = without_query(request.path());
            let routes = &table.config().virtual_hosts[0].routes;
            let scanned = routes.iter().position(|route| {
                route.matcher.check(&request, bare, &Whole).is_ok()
            });
            prop_assert_eq!(position(&table, &request), scanned);
            let missed = table.misses(&request, &Whole).count();
            prop_assert_eq!(missed, scanned.unwrap_or(routes.len()));
        }
    }
}
