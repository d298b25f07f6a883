//! Owns the list of endpoints: it answers, and it is the help, the home page's table and the 404 text.

use understudy_actors::{Command, command::Setting};

use super::{
    Answer, Ask, actors, certs, clusters, config_dump, dns, drain,
    endpoint::{
        Action::{Change, Read, ReadByPost, ReadMuch},
        Endpoint, Origin, Param,
        ParamKind::{Flag, OneOf, Text},
    },
    endpoints, explain, failures, help, home, listeners, logging, memory, overview, profiler,
    reload, runtime, server_info, simple, stats,
};

/// Every endpoint: Envoy's in its order, then ours.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/",
        help: "Admin home page",
        params: &[],
        origin: Origin::Envoy,
        action: Read(home::home),
    },
    Endpoint {
        path: "/allocprofiler",
        help: "enable/disable the allocation profiler (if supported)",
        params: &[Param {
            name: "enable",
            help: "enable/disable the allocation profiler",
            kind: OneOf(&["y", "n"]),
        }],
        origin: Origin::Envoy,
        action: ReadByPost(simple::alloc_profiler),
    },
    Endpoint {
        path: "/certs",
        help: "print certs on machine",
        params: &[],
        origin: Origin::Envoy,
        action: Read(certs::certs),
    },
    Endpoint {
        path: "/clusters",
        help: "upstream cluster status",
        params: &[Param {
            name: "filter",
            help: "Regular expression (Google re2) for filtering clusters by name",
            kind: Text,
        }],
        origin: Origin::Envoy,
        action: ReadMuch(clusters::clusters),
    },
    Endpoint {
        path: "/config_dump",
        help: "dump current Envoy configs",
        params: &[
            Param { name: "resource", help: "The resource to dump", kind: Text },
            Param {
                name: "mask",
                help: "The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask",
                kind: Text,
            },
            Param {
                name: "name_regex",
                help: "Dump only the currently loaded configurations whose names match the specified regex. Can be used with both resource and mask query parameters.",
                kind: Text,
            },
            Param {
                name: "include_eds",
                help: "Dump currently loaded configuration including EDS. See the response definition for more information",
                kind: Flag,
            },
        ],
        origin: Origin::Envoy,
        action: ReadMuch(config_dump::config_dump),
    },
    Endpoint {
        path: "/contention",
        help: "dump current Envoy mutex contention stats (if enabled)",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::contention),
    },
    Endpoint {
        path: "/cpuprofiler",
        help: "enable/disable the CPU profiler",
        params: &[Param {
            name: "enable",
            help: "enables the CPU profiler",
            kind: OneOf(&["y", "n"]),
        }],
        origin: Origin::Envoy,
        action: Change(profiler::cpu, Answer::ok),
    },
    Endpoint {
        path: "/drain_listeners",
        help: "drain listeners",
        params: &[
            Param {
                name: "graceful",
                help: "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is configurable via server options or CLI",
                kind: Flag,
            },
            Param {
                name: "skip_exit",
                help: "When draining listeners, drain the connections but never stop the listeners. The graceful parameter has no effect when this is set, since the drain period only delays stopping the listeners",
                kind: Flag,
            },
            Param {
                name: "inboundonly",
                help: "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound or outbound.",
                kind: Flag,
            },
        ],
        origin: Origin::Envoy,
        action: Change(drain::drain_listeners, Answer::ok),
    },
    Endpoint {
        path: "/healthcheck/fail",
        help: "cause the server to fail health checks",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, ask| health(true, ask), Answer::ok),
    },
    Endpoint {
        path: "/healthcheck/ok",
        help: "cause the server to pass health checks",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, ask| health(false, ask), Answer::ok),
    },
    Endpoint {
        path: "/heap_dump",
        help: "dump current Envoy heap (if supported)",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::heap_dump),
    },
    Endpoint {
        path: "/heapprofiler",
        help: "enable/disable the heap profiler",
        params: &[Param {
            name: "enable",
            help: "enable/disable the heap profiler",
            kind: OneOf(&["y", "n"]),
        }],
        origin: Origin::Envoy,
        action: ReadByPost(simple::heap_profiler),
    },
    Endpoint {
        path: "/help",
        help: "print out list of admin commands",
        params: &[],
        origin: Origin::Envoy,
        action: Read(help::help),
    },
    Endpoint {
        path: "/hot_restart_version",
        help: "print the hot restart compatibility version",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::hot_restart_version),
    },
    Endpoint {
        path: "/init_dump",
        help: "dump current Envoy init manager information (experimental)",
        params: &[Param {
            name: "mask",
            help: "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For example, get the unready targets of all listeners with /init_dump?mask=listener`",
            kind: Text,
        }],
        origin: Origin::Envoy,
        action: Read(simple::init_dump),
    },
    Endpoint {
        path: "/listeners",
        help: "print listener info",
        params: &[Param {
            name: "format",
            help: "File format to use",
            kind: OneOf(&["text", "json"]),
        }],
        origin: Origin::Envoy,
        action: Read(listeners::listeners),
    },
    Endpoint {
        path: "/logging",
        help: "query/change logging levels",
        params: &[
            Param {
                name: "paths",
                help: "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is enabled, use __FILE__ or a glob experision as the logger name. For example, source/common*:warning",
                kind: Text,
            },
            Param {
                name: "group",
                help: "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. logger_group_name must be a logger name.",
                kind: Text,
            },
            Param {
                name: "level",
                help: "desired logging level, this will change all loggers's level",
                kind: OneOf(&["", "trace", "debug", "info", "warning", "error", "critical", "off"]),
            },
        ],
        origin: Origin::Envoy,
        action: Change(logging::change, logging::answer),
    },
    Endpoint {
        path: "/memory",
        help: "print current allocation/heap usage",
        params: &[],
        origin: Origin::Envoy,
        action: Read(memory::memory),
    },
    Endpoint {
        path: "/memory/tcmalloc",
        help: "print TCMalloc stats",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::tcmalloc),
    },
    Endpoint {
        path: "/peak_heap_dump",
        help: "dump peak Envoy heap (if supported)",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::heap_dump),
    },
    Endpoint {
        path: "/quitquitquit",
        help: "exit the server",
        params: &[],
        origin: Origin::Envoy,
        action: Change(drain::quit, Answer::ok),
    },
    Endpoint {
        path: "/ready",
        help: "print server state, return 200 if LIVE, otherwise return 503",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::ready),
    },
    Endpoint {
        path: "/reopen_logs",
        help: "reopen access logs",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, _| Ok(Command::ReopenLogs), Answer::ok),
    },
    Endpoint {
        path: "/reset_counters",
        help: "reset all counters to zero",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, _| Ok(Command::ResetCounters), Answer::ok),
    },
    Endpoint {
        path: "/runtime",
        help: "print runtime values",
        params: &[],
        origin: Origin::Envoy,
        action: Read(runtime::runtime),
    },
    Endpoint {
        path: "/runtime_modify",
        help: "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty string as the value. Note that deletion only applies to overrides added via this endpoint; values loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...",
        params: &[],
        origin: Origin::Envoy,
        action: Change(runtime::modify, Answer::ok),
    },
    Endpoint {
        path: "/server_info",
        help: "print server version/status information",
        params: &[],
        origin: Origin::Envoy,
        action: Read(server_info::server_info),
    },
    Endpoint {
        path: "/stats",
        help: "print server stats",
        params: &[
            Param {
                name: "usedonly",
                help: "Only include stats that have been written by system since restart",
                kind: Flag,
            },
            Param {
                name: "filter",
                help: "Regular expression (Google re2) for filtering stats",
                kind: Text,
            },
            Param { name: "invert_filter", help: "Invert the filter regex", kind: Flag },
            Param {
                name: "format",
                help: "Format to use",
                kind: OneOf(&["html", "active-html", "text", "json"]),
            },
            Param {
                name: "type",
                help: "Stat types to include.",
                kind: OneOf(&["All", "Counters", "Histograms", "Gauges", "TextReadouts"]),
            },
            Param {
                name: "histogram_buckets",
                help: "Histogram bucket display mode",
                kind: OneOf(&["cumulative", "disjoint", "detailed", "summary"]),
            },
        ],
        origin: Origin::Envoy,
        action: ReadMuch(stats::stats),
    },
    Endpoint {
        path: "/stats/prometheus",
        help: "print server stats in prometheus format",
        params: &[
            Param {
                name: "usedonly",
                help: "Only include stats that have been written by system since restart",
                kind: Flag,
            },
            Param {
                name: "text_readouts",
                help: "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)",
                kind: Flag,
            },
            Param {
                name: "filter",
                help: "Regular expression (Google re2) for filtering stats",
                kind: Text,
            },
            Param { name: "invert_filter", help: "Invert the filter regex", kind: Flag },
            Param {
                name: "histogram_buckets",
                help: "Histogram bucket display mode",
                kind: OneOf(&["cumulative", "summary"]),
            },
        ],
        origin: Origin::Envoy,
        action: ReadMuch(stats::prometheus),
    },
    Endpoint {
        path: "/stats/recentlookups",
        help: "Show recent stat-name lookups",
        params: &[],
        origin: Origin::Envoy,
        action: Read(simple::recent_lookups),
    },
    Endpoint {
        path: "/stats/recentlookups/clear",
        help: "clear list of stat-name lookups and counter",
        params: &[],
        origin: Origin::Envoy,
        action: ReadByPost(simple::clear_lookups),
    },
    Endpoint {
        path: "/stats/recentlookups/disable",
        help: "disable recording of reset stat-name lookup names",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, _| Ok(Command::TrackLookups(false)), Answer::ok),
    },
    Endpoint {
        path: "/stats/recentlookups/enable",
        help: "enable recording of reset stat-name lookup names",
        params: &[],
        origin: Origin::Envoy,
        action: Change(|_, _| Ok(Command::TrackLookups(true)), Answer::ok),
    },
    Endpoint {
        path: "/actors",
        help: "who is on stage: role, state, mailbox, restarts, last fall, age; and the journal",
        params: &[Param {
            name: "format",
            help: "how to write it",
            kind: OneOf(&["text", "json"]),
        }],
        origin: Origin::Ours,
        action: ReadMuch(actors::actors),
    },
    Endpoint {
        path: "/actors/kill",
        help: "let an actor fall, to see it stand up again (with --enable-drills)",
        params: &[Param {
            name: "name",
            help: "an actor of /actors, or worker/N/listener/NAME/connection",
            kind: Text,
        }],
        origin: Origin::Ours,
        action: Change(actors::kill, Answer::ok),
    },
    Endpoint {
        path: "/clusters/endpoints",
        help: "add, remove or drain hosts of a cluster by hand, several in one call; what is in force is the \
               answer",
        params: &[
            Param { name: "cluster", help: "which; /clusters lists them", kind: Text },
            Param {
                name: "add",
                help: "IP:PORT, a host from now on; also brings one back",
                kind: Text,
            },
            Param { name: "weight", help: "of the host that was added before it", kind: Text },
            Param { name: "remove", help: "IP:PORT, no host any more", kind: Text },
            Param { name: "drain", help: "IP:PORT, takes no new requests", kind: Text },
            Param {
                name: "ttl",
                help: "for so long only, as 10m; for good if not given",
                kind: Text,
            },
        ],
        origin: Origin::Ours,
        action: Change(endpoints::change, endpoints::in_force),
    },
    Endpoint {
        path: "/dns",
        help: "every name that DNS is asked for: answer, time to live, age, next refresh, last error",
        params: &[
            Param { name: "name", help: "only this name", kind: Text },
            Param { name: "cluster", help: "only names of this cluster", kind: Text },
            Param { name: "format", help: "how to write it", kind: OneOf(&["text", "json"]) },
        ],
        origin: Origin::Ours,
        action: ReadMuch(dns::dns),
    },
    Endpoint {
        path: "/dns/refresh",
        help: "ask DNS now; answers with what it said",
        params: &[Param { name: "name", help: "the name; all if not given", kind: Text }],
        origin: Origin::Ours,
        action: Change(dns::refresh, dns::refreshed),
    },
    Endpoint {
        path: "/explain",
        help: "what would become of a request: its route, those before it and what they were missed by, \
               rewrites, cluster and hosts",
        params: &[
            Param { name: "host", help: "the host that it is for", kind: Text },
            Param { name: "path", help: "path and query; / if not given", kind: Text },
            Param { name: "method", help: "GET if not given", kind: Text },
            Param { name: "header", help: "NAME:VALUE; may be given again", kind: Text },
            Param {
                name: "scheme",
                help: "how it comes; http if not given",
                kind: OneOf(&["http", "https"]),
            },
            Param { name: "listener", help: "only by this listener; all if not given", kind: Text },
            Param { name: "format", help: "how to write it", kind: OneOf(&["text", "json"]) },
        ],
        origin: Origin::Ours,
        action: ReadMuch(explain::explain),
    },
    Endpoint {
        path: "/failures",
        help: "the last requests that got an error, of ours or of a host's, and what to do about each",
        params: &[
            Param { name: "limit", help: "how many are shown; 50 if not given", kind: Text },
            Param {
                name: "cluster",
                help: "only those that were to go to this cluster",
                kind: Text,
            },
            Param { name: "route", help: "only those that this route took", kind: Text },
            Param { name: "status", help: "only those that were told this status", kind: Text },
            Param { name: "request_id", help: "only the one with this x-request-id", kind: Text },
            Param { name: "format", help: "how to write it", kind: OneOf(&["text", "json"]) },
        ],
        origin: Origin::Ours,
        action: ReadMuch(failures::failures),
    },
    Endpoint {
        path: "/overview",
        help: "what the home page shows, as JSON: the busiest clusters, and how many were left out",
        params: &[
            Param {
                name: "limit",
                help: "how many clusters, and lines of each other list; 200 if not given, 1000 at most",
                kind: Text,
            },
            Param {
                name: "filter",
                help: "Regular expression (Google re2) for filtering clusters by name",
                kind: Text,
            },
        ],
        origin: Origin::Ours,
        action: ReadMuch(overview::overview),
    },
    Endpoint {
        path: "/reload",
        help: "read the configuration again, and put it in force as a whole or not at all; says what changes, and \
               which connections that touches",
        params: &[Param { name: "dry_run", help: "only say it", kind: Flag }],
        origin: Origin::Ours,
        action: Change(reload::reload, Answer::ok),
    },
    Endpoint {
        path: "/reload/last",
        help: "what became of the last reload",
        params: &[],
        origin: Origin::Ours,
        action: Read(reload::last),
    },
];

fn health(failed: bool, ask: &Ask) -> Result<Command, Answer> {
    Ok(Command::Set(Setting::HealthFailed(failed), ask.term()?))
}
