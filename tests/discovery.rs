//! Owns discovery from files: what they bring, change, refuse and take away, and that it disturbs nobody.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use support::{
    client,
    origin::Origin,
    proxy::{Proxy, folder},
    undisturbed::{POURED_MIB, Undisturbed},
    wait_for,
};

/// Files of discovery, each replaced by a move.
struct Files(PathBuf);

impl Files {
    fn put(&self, name: &str, version: &str, resources: &[String]) {
        let resources: String = resources.iter().map(|one| format!("- {one}\n")).collect();
        self.put_text(name, &format!("version_info: \"{version}\"\nresources:\n{resources}"));
    }

    fn put_text(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::write(path.with_extension("next"), text).expect("a file can be written");
        fs::rename(path.with_extension("next"), path).expect("and moved");
    }

    /// A proxy whose listeners and clusters come from files; `more` are further lines of its own.
    fn start(&self, more: &str) -> Proxy {
        let [cds, lds] = ["cds.yaml", "lds.yaml"].map(|name| source(&self.0, name));
        Proxy::start(&format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
             dynamic_resources: {{cds_config: {cds}, lds_config: {lds}}}\n{more}"
        ))
    }
}

fn source(folder: &Path, name: &str) -> String {
    format!("{{path_config_source: {{path: {}}}}}", folder.join(name).display())
}

fn endpoints(hosts: &[SocketAddr]) -> String {
    let one = |host: &SocketAddr| {
        let (ip, port) = (host.ip(), host.port());
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}"
        )
    };
    let all: Vec<_> = hosts.iter().map(one).collect();
    format!("[{{lb_endpoints: [{}]}}]", all.join(", "))
}

fn fixed(name: &str, hosts: &[SocketAddr]) -> String {
    let endpoints = endpoints(hosts);
    format!(
        "{{\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: {name}, \
         connect_timeout: 1s, load_assignment: {{cluster_name: {name}, endpoints: {endpoints}}}}}"
    )
}

fn subscribing(name: &str, folder: &Path) -> String {
    let source = source(folder, &format!("{name}.json"));
    format!(
        "{{\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: {name}, \
         connect_timeout: 1s, type: EDS, eds_cluster_config: {{eds_config: {source}}}}}"
    )
}

/// As JSON, which YAML in braces is but for its quotes.
fn assignment(name: &str, version: &str, hosts: &[SocketAddr], policy: &str) -> String {
    let one = |host: &SocketAddr| {
        let (ip, port) = (host.ip(), host.port());
        format!(
            "{{\"endpoint\": {{\"address\": {{\"socket_address\": {{\"address\": \"{ip}\", \"port_value\": {port}}}}}}}}}"
        )
    };
    let all: Vec<_> = hosts.iter().map(one).collect();
    format!(
        "{{\"version_info\": \"{version}\", \"resources\": [{{\
         \"@type\": \"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\", \
         \"cluster_name\": \"{name}\", \"policy\": {{{policy}}}, \
         \"endpoints\": [{{\"lb_endpoints\": [{}]}}]}}]}}",
        all.join(", ")
    )
}

fn routes(name: &str, routes: &str) -> String {
    format!(
        "{{\"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: {name}, \
         virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{routes}]}}]}}"
    )
}

fn listener(name: &str, manager: &str) -> String {
    format!(
        "{{\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: {name}, \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, filter_chains: [{{filters: [{{name: hcm, \
         typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: in, upgrade_configs: [{{upgrade_type: websocket}}], {manager}, http_filters: [{{name: router, \
         typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
    )
}

fn rds(folder: &Path, name: &str) -> String {
    format!("rds: {{route_config_name: {name}, config_source: {}}}", source(folder, "rds.yaml"))
}

fn until(what: &str, address: SocketAddr, path: &str, status: u16, body: &str) {
    wait_for(what, || {
        let answer = client::get(address, path);
        (answer.status == status && answer.text() == body).then_some(())
    });
}

const ALL_TO_A: &str = "{match: {prefix: /}, route: {cluster: a}}";

#[test]
fn files_bring_change_and_take_away_and_what_is_refused_stays_as_it_was() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let files = Files(folder());
    files.put("cds.yaml", "1", &[subscribing("a", &files.0)]);
    files.put_text("a.json", &assignment("a", "1", &[one.address], ""));
    files.put("lds.yaml", "1", &[listener("main", &rds(&files.0, "table"))]);
    files.put("rds.yaml", "1", &[routes("table", ALL_TO_A)]);
    let proxy = files.start("");
    let (main, admin) = (proxy.listener("main"), proxy.admin);
    assert_eq!(client::get(main, "/").text(), "one");
    for (path, part) in [
        ("/clusters", "a::added_via_api::true"),
        ("/config_dump?resource=dynamic_active_clusters", "\"version_info\": \"1\""),
        ("/config_dump?resource=dynamic_route_configs", "\"name\": \"table\""),
        ("/config_dump?include_eds", "dynamic_endpoint_configs"),
        ("/stats", "http.in.rds.table.version_text: \"1\""),
        ("/stats", "cluster.a.version_text: \"1\""),
        ("/stats", "cluster_manager.cds.version: 13237225503670494420"),
        (
            "/stats/prometheus?text_readouts",
            "envoy_cluster_manager_cds_version_text{text_value=\"1\"} 0",
        ),
    ] {
        let text = client::get(admin, path).text();
        assert!(text.contains(part), "{part} in {path}:\n{text}");
    }

    files.put_text("a.json", &assignment("a", "2", &[two.address], ""));
    until("another host", main, "/", 200, "two");
    let new = "{match: {prefix: /new}, route: {cluster: new}}";
    files.put("rds.yaml", "2", &[routes("table", &format!("{new}, {ALL_TO_A}"))]);
    until("a cluster that is not there yet", main, "/new", 503, "");
    files.put("cds.yaml", "2", &[subscribing("a", &files.0), fixed("new", &[one.address])]);
    until("the new cluster", main, "/new", 200, "one");
    assert_eq!(client::get(main, "/").text(), "two");

    // A bad resource stays as it was, and so does all of a file that cannot be read.
    let bad = listener(
        "bad",
        "route_config: {virtual_hosts: [{name: x, domains: [\"*\"], routes: [{match: {prefix: /}, route: {cluster: nosuch}}]}]}",
    );
    files.put("lds.yaml", "2", &[listener("main", &rds(&files.0, "table")), bad]);
    let rejected = "listener_manager.lds.update_rejected";
    wait_for(rejected, || (proxy.stat(rejected) == Some(1)).then_some(()));
    let dump = client::get(admin, "/config_dump?resource=dynamic_listeners").text();
    assert!(dump.contains("\"details\": \"route: unknown cluster 'nosuch'\""), "{dump}");
    files.put_text("rds.yaml", "resources: [");
    let failed = "http.in.rds.table.update_failure";
    wait_for(failed, || (proxy.stat(failed) == Some(1)).then_some(()));
    assert_eq!(client::get(main, "/new").text(), "one");
    assert!(proxy.log().contains("rds.yaml cannot be read"), "{}", proxy.log());

    // An edit in place counts, too.
    let table = routes(
        "table",
        "{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: direct}}}",
    );
    fs::write(files.0.join("rds.yaml"), format!("resources: [{table}]")).expect("it is there");
    until("the edit", main, "/", 200, "direct");

    let drop =
        "\"drop_overloads\": [{\"category\": \"c\", \"drop_percentage\": {\"numerator\": 100}}]";
    files.put_text("a.json", &assignment("a", "3", &[two.address], drop));
    files.put("rds.yaml", "4", &[routes("table", ALL_TO_A)]);
    until("all requests dropped", main, "/", 503, "unconditional drop overload");
    files.put("cds.yaml", "3", &[]);
    until("the cluster to go", main, "/", 503, "");
    files.put("lds.yaml", "3", &[]);
    wait_for("the listener to go", || TcpStream::connect(main).is_err().then_some(()));
    // Its connections have their time to end. Observed: Envoy 1.40.
    wait_for("a listener that drains", || {
        let dump = client::get(admin, "/config_dump?resource=dynamic_listeners").text();
        (dump.contains("\"draining_state\"") && !dump.contains("\"active_state\"")).then_some(())
    });
}

#[test]
fn a_source_that_is_not_there_or_not_of_files_is_refused_by_name_and_line() {
    let nowhere = folder().join("nosuch.yaml");
    for (source, told) in [
        (format!("path_config_source: {{path: {}}}", nowhere.display()), "does not exist"),
        ("ads: {}".to_owned(), "`ads` is known to Envoy"),
        ("api_config_source: {api_type: GRPC}".to_owned(), "`api_config_source` is known to Envoy"),
    ] {
        let config = format!("dynamic_resources:\n  cds_config: {{{source}}}\n");
        let output = support::proxy::binary()
            .args(["--mode", "validate", "--config-yaml", &config])
            .output()
            .expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(told), "{told} in {text}");
    }
}

#[test]
fn updates_under_load_fail_no_request_and_cut_neither_a_websocket_nor_a_download() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::saying("a")).collect();
    let (chat, pour) = (Origin::echoing(), Origin::pouring(POURED_MIB));
    let all = [origins[0].address, origins[1].address];
    let files = Files(folder());
    let rest = [fixed("chat", &[chat.address]), fixed("pour", &[pour.address])];
    let clusters = |timeout: &str| {
        let a = subscribing("a", &files.0).replace("connect_timeout: 1s", timeout);
        [vec![a], rest.to_vec()].concat()
    };
    let table = |more: &str| {
        let own = "{match: {prefix: /chat}, route: {cluster: chat, timeout: 0s}}, \
                   {match: {prefix: /pour}, route: {cluster: pour, timeout: 0s}}";
        [routes("table", &format!("{own}, {more}{ALL_TO_A}"))]
    };
    files.put("cds.yaml", "0", &clusters("connect_timeout: 1s"));
    files.put_text("a.json", &assignment("a", "0", &all, ""));
    files.put("lds.yaml", "0", &[listener("main", &rds(&files.0, "table"))]);
    files.put("rds.yaml", "0", &table(""));
    let proxy = files.start("");
    let main = proxy.listener("main");
    let mut others = Undisturbed::open(main);
    for round in 1..=8 {
        let version = round.to_string();
        let odd = round % 2 == 1;
        files.put_text("a.json", &assignment("a", &version, &all[..1 + usize::from(!odd)], ""));
        files.put(
            "rds.yaml",
            &version,
            &table(if odd { "{match: {prefix: /odd}, route: {cluster: a}}, " } else { "" }),
        );
        let timeout = if odd { "connect_timeout: 2s" } else { "connect_timeout: 1s" };
        files.put("cds.yaml", &version, &clusters(timeout));
        let via = if odd { "via: elsewhere, " } else { "" };
        files.put(
            "lds.yaml",
            &version,
            &[listener("main", &format!("{via}{}", rds(&files.0, "table")))],
        );
        for stat in
            ["cluster.a", "http.in.rds.table", "cluster_manager.cds", "listener_manager.lds"]
        {
            let said = format!("{stat}.version_text: \"{version}\"");
            wait_for(&said, || {
                client::get(proxy.admin, "/stats").text().contains(&said).then_some(())
            });
        }
        others.chat();
    }
    others.end();
}
