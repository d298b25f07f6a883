//! Owns the home page as people see it: in a real browser, with traffic through the proxy.

mod support;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use support::{
    chromium::{Chromium, chromium},
    client::{Client, get},
    config::{self, front},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

const ROUTES: &str = "{match: {prefix: /shop}, route: {cluster: shop}}, \
    {match: {prefix: /}, route: {cluster: catalog}}";

const CLUSTERS: &str = r#"
  - name: catalog
    load_assignment:
      cluster_name: catalog
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FIRST}}}
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: SECOND}}}
  - name: shop
    health_checks:
    - {timeout: 2s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}
    load_assignment:
      cluster_name: shop
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FIRST}}}
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ILL}}}
"#;

/// A proxy with two clusters; one of four hosts fails its health check.
struct Scene {
    proxy: Proxy,
    _origins: [Origin; 3],
}

/// Requests without end, until it is dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    sending: Vec<JoinHandle<()>>,
}

fn scene() -> Scene {
    let origins = [busy(2, 50), busy(5, 9), ill()];
    let [first, second, other] = &origins;
    let mut clusters = CLUSTERS.to_owned();
    for (name, origin) in [("FIRST", first), ("SECOND", second), ("ILL", other)] {
        clusters = clusters.replace(name, &origin.address.port().to_string());
    }
    let layers = "layers: [{name: base, static_layer: {shop.limit: 20}}, {name: admin,";
    let config = config::routed(ROUTES, &clusters).replace("layers: [{name: admin,", layers);
    let flags = ["--concurrency", "2", "--service-node", "edge-1", "--service-cluster", "edge"];
    let proxy = Proxy::start_with(&config, &flags);
    wait_for("the ill host to be flagged", || {
        get(proxy.admin, "/clusters").text().contains("/failed_active_hc\n").then_some(())
    });
    Scene { proxy, _origins: origins }
}

/// Takes some milliseconds for an answer, and fails now and then.
fn busy(ms: u64, failing: usize) -> Origin {
    let asked = AtomicUsize::new(0);
    Origin::answering(move |stream, request| {
        let turn = asked.fetch_add(1, SeqCst) + 1;
        let check = request.head.starts_with("GET /hc");
        std::thread::sleep(Duration::from_millis(ms + turn as u64 % 7));
        let fails = !check && turn.is_multiple_of(failing);
        let status = if fails { "503 Busy" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nhi");
        let _ = stream.write_all(answer.as_bytes());
    })
}

fn ill() -> Origin {
    Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
    })
}

/// The browser with the page open and its first reading shown.
fn page(browser: &mut Chromium, proxy: &Proxy) {
    browser.open(&format!("http://{}/", proxy.admin));
    browser.wait_until("!by('live').hidden");
}

fn clean(browser: &mut Chromium, proxy: &Proxy) {
    assert_eq!(browser.complaints(), [""; 0]);
    let own = format!("http://{}/", proxy.admin);
    let asked = browser.addresses();
    let elsewhere = asked
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:") && *url != "about:blank");
    assert_eq!(elsewhere.collect::<Vec<_>>(), [""; 0]);
    assert!(asked.iter().any(|url| url.starts_with(&format!("{own}overview"))), "{asked:?}");
}

fn overview(proxy: &Proxy, query: &str) -> Value {
    let answer = get(proxy.admin, &format!("/overview?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("/overview is JSON")
}

#[test]
fn the_overview_tells_the_busiest_clusters_and_how_many_it_left_out() {
    let origin = Origin::saying("hello");
    let hosts = [origin.address];
    let proxy = Proxy::start(&front(&[("a", &hosts), ("b", &hosts), ("c", &[])]));
    (0..3).for_each(|_| drop(get(proxy.listener("main"), "/b")));
    let told = overview(&proxy, "limit=1");
    let clusters = &told["clusters"];
    assert_eq!(clusters["list"][0]["name"], "b");
    assert_eq!(clusters["list"][0]["rq_total"], 3);
    assert_eq!(clusters["list"][0]["hosts"]["list"][0]["rq_total"], 3);
    for (field, count) in [("all", 3), ("total", 3), ("left_out", 2), ("hosts", 2)] {
        assert_eq!(clusters[field], count, "{field}: {clusters}");
    }
    assert_eq!(told["requests"]["managers"]["list"][0]["rq_2xx"], 3);
    assert_eq!(told["listeners"]["list"][0]["name"], "main");
    assert_eq!(told["actors"]["list"][0]["name"], "supervisor");
    let told = overview(&proxy, "filter=%5E%5Bac%5D$");
    let clusters = &told["clusters"];
    let names: Vec<_> = clusters["list"].as_array().expect("a list").iter().collect();
    assert_eq!((names.len(), &names[0]["name"], &names[1]["name"]), (2, &"a".into(), &"c".into()));
    assert_eq!((&clusters["all"], &clusters["total"]), (&3.into(), &2.into()));
    assert_eq!(get(proxy.admin, "/overview?filter=(").status, 400);
}

#[test]
fn browsers_are_told_what_may_run_and_others_get_envoys_headers() {
    let proxy = Proxy::start(&front(&[]));
    for (path, accept, policy) in [
        ("/", "text/html,*/*;q=0.8", true),
        ("/", "*/*", false),
        ("/stats?format=html", "text/html", false),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\naccept: {accept}\r\n\r\n");
        let answer = Client::connect(proxy.admin).request(request);
        assert_eq!(answer.status, 200);
        let told = answer.header("content-security-policy");
        assert_eq!(told.is_some(), policy, "{path} {accept}: {told:?}");
        assert!(told.is_none_or(|told| told.contains("frame-ancestors 'none'")), "{told:?}");
    }
}

#[test]
fn the_page_shows_listeners_clusters_hosts_and_the_rate_of_requests() {
    let Some(mut browser) = chromium() else { return };
    let scene = scene();
    page(&mut browser, &scene.proxy);
    let listener = scene.proxy.listener("main").to_string();
    for (selector, words) in [
        ("#state", "LIVE"),
        ("#healthy", "3 of 4"),
        ("#listeners-table", listener.as_str()),
        ("#clusters-table", "failed_active_hc"),
        ("#clusters-table", "1 of 2 healthy"),
        ("#actors", "supervisor"),
        ("#runtime", "shop.limit"),
        (".commands", "quitquitquit"),
    ] {
        let text = browser.text(selector);
        assert!(text.contains(words), "{selector}: {text}");
    }
    browser.wait_until("by('rps').textContent === '0'");
    let traffic = Traffic::start(&scene.proxy);
    browser.wait_until("parseFloat(by('rps').textContent) > 0");
    browser
        .wait_until("document.querySelector('#rps-line path:last-child').getAttribute('d') !== ''");
    browser.wait_until("parseFloat(by('p99').textContent) > 0");
    // A part of a name, and then an expression that is none.
    browser.evaluate("by('filter').focus()");
    browser.write("sho");
    browser.wait_until("document.querySelectorAll('#clusters-table .twist').length === 1");
    browser.write("(");
    browser.wait_until("by('filter-error').textContent.includes('missing )')");
    drop(traffic);
    let own = |complaint: &String| complaint.contains("status of 400");
    assert!(browser.complaints().iter().all(own), "{:?}", browser.complaints());
}

#[test]
fn log_levels_and_runtime_values_are_changed_in_the_page() {
    let Some(mut browser) = chromium() else { return };
    let scene = scene();
    let admin = scene.proxy.admin;
    page(&mut browser, &scene.proxy);
    browser.evaluate(
        "by('loggers-each').open = true;
         const select = document.querySelector('select[name=upstream]');
         select.value = 'debug';
         select.dispatchEvent(new Event('change'));",
    );
    wait_for("the logger to change", || {
        let levels = support::client::post(admin, "/logging").text();
        levels.contains("  upstream: debug\n").then_some(())
    });
    browser.wait_until("by('outcome').textContent === 'Logger upstream is at debug'");
    let runtime = || get(admin, "/runtime").text();
    browser.evaluate(
        "by('override-key').value = 'a.b c';
         by('override-value').value = '1+1 & <i>';
         by('override-add').click();",
    );
    browser.wait_until("by('outcome').textContent === 'a.b c is 1+1 & <i>'");
    assert!(runtime().contains("\"a.b c\""), "{}", runtime());
    assert!(runtime().contains("\"1+1 & \\u003ci\\u003e\""), "{}", runtime());
    browser.wait_until("by('override-key').value === ''");
    browser.evaluate("document.querySelector('[aria-label=\"Remove override of a.b c\"]').click()");
    browser.wait_until("by('outcome').textContent === 'The override of a.b c is removed'");
    assert!(!runtime().contains("a.b c"), "{}", runtime());
    browser.wait_until("document.querySelectorAll('#runtime li').length === 1");
    clean(&mut browser, &scene.proxy);
}

#[test]
fn changes_are_made_with_the_keyboard_alone() {
    let Some(mut browser) = chromium() else { return };
    let scene = scene();
    page(&mut browser, &scene.proxy);
    browser.tab_to("override-key");
    browser.write("by.keyboard");
    browser.press("Tab");
    browser.write("7");
    browser.press("Tab");
    browser.press("Enter");
    browser.wait_until("by('outcome').textContent === 'by.keyboard is 7'");
    assert!(get(scene.proxy.admin, "/runtime").text().contains("by.keyboard"));
    browser.wait_until(
        "by('override-key').value === '' && document.activeElement.id === 'override-key'",
    );
    browser.tab_to("health");
    let outlined = "getComputedStyle(document.activeElement).outlineStyle === 'solid'";
    assert_eq!(browser.evaluate(outlined), true, "the focus is seen");
    for (words, status) in [("Health checks fail now", 503), ("Health checks pass again", 200)] {
        browser.press("Enter");
        browser.wait_until(&format!("by('outcome').textContent === '{words}'"));
        assert_eq!(get(scene.proxy.admin, "/ready").status, status);
        assert_eq!(browser.evaluate("document.activeElement.id"), "health");
    }
    clean(&mut browser, &scene.proxy);
}

#[test]
fn the_page_fits_a_phone_and_wears_the_colours_that_are_preferred() {
    let Some(mut browser) = chromium() else { return };
    let scene = scene();
    browser.resize(320, 640);
    page(&mut browser, &scene.proxy);
    let traffic = Traffic::start(&scene.proxy);
    browser.wait_until("parseFloat(by('rps').textContent) > 0");
    let wide = "[...document.querySelectorAll('body *')].filter((one) =>
        one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.skip'))
        .map((one) => one.outerHTML.slice(0, 99))";
    for (width, height) in [(320, 640), (390, 844), (768, 1024), (1440, 900)] {
        browser.resize(width, height);
        browser.evaluate("by('loggers-each').open = true");
        assert_eq!(
            browser.evaluate("document.documentElement.scrollWidth <= innerWidth"),
            true,
            "{width}: {}",
            browser.evaluate(wide)
        );
    }
    browser.evaluate("by('loggers-each').open = false");
    let mut backgrounds = Vec::new();
    for (scheme, width, height, name) in
        [("light", 1440, 900, "home.png"), ("dark", 390, 844, "home-phone.png")]
    {
        browser.prefer(scheme);
        browser.resize(width, height);
        backgrounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        keep(&mut browser, name);
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
    drop(traffic);
    clean(&mut browser, &scene.proxy);
}

#[test]
fn what_was_shown_stays_when_the_proxy_is_gone() {
    let Some(mut browser) = chromium() else { return };
    let Scene { proxy, _origins } = scene();
    page(&mut browser, &proxy);
    drop(proxy);
    browser.wait_until("by('reach').textContent.startsWith('Not reachable since ')");
    assert_eq!(browser.text("#healthy"), "3 of 4");
    browser.evaluate("change('logging?level=info', 'changed')");
    assert_eq!(browser.text("#outcome"), "Not changed: no connection");
}

#[test]
fn what_is_refused_is_told_in_the_words_of_the_port() {
    let Some(mut browser) = chromium() else { return };
    let layers = "layered_runtime: {layers: [{name: admin, admin_layer: {}}]}";
    let proxy = Proxy::start(&front(&[]).replace(layers, ""));
    page(&mut browser, &proxy);
    assert_eq!(browser.evaluate("by('override-add').disabled"), true);
    assert!(browser.text("#runtime-note").contains("no admin_layer"));
    browser.evaluate("change('runtime_modify?a=1', 'changed')");
    let refusal = support::client::post(proxy.admin, "/runtime_modify?a=1");
    assert_eq!(refusal.status, 503);
    let told = format!("Not changed: 503, {}", refusal.text().trim());
    assert_eq!(browser.text("#outcome"), told);
}

#[test]
fn without_a_script_the_page_says_the_essentials() {
    let Some(mut browser) = chromium() else { return };
    let scene = scene();
    browser.call("Emulation.setScriptExecutionDisabled", serde_json::json!({"value": true}));
    browser.open(&format!("http://{}/", scene.proxy.admin));
    let text = browser.text("main");
    for words in ["main on 127.0.0.1:", "shop: 1 of 2 hosts healthy", "catalog: 2 of 2 hosts"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_stats_page_asks_again_when_its_form_is_changed() {
    let Some(mut browser) = chromium() else { return };
    let proxy = Proxy::start(&front(&[]));
    browser.open(&format!("http://{}/stats?format=html&filter=server", proxy.admin));
    browser.evaluate(
        "const select = document.getElementById('param-1-stats-type');
         select.value = 'Gauges';
         select.dispatchEvent(new Event('change'));",
    );
    browser.wait_until("location.search.includes('type=Gauges')");
    browser.wait_until("document.readyState === 'complete'");
    let stats = browser.text("pre");
    assert!(
        stats.contains("server.live: ") && !stats.contains("server.debug_assertion"),
        "{stats}"
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Writes the page's picture into the folder that `PICTURES` names, after a minute of traffic: so the pictures in
/// `docs/` are made (`PICTURES=docs cargo test --test home_page`).
fn keep(browser: &mut Chromium, name: &str) {
    let Some(folder) = std::env::var_os("PICTURES") else { return };
    for samples in (2..=30).step_by(2) {
        browser.wait_until(&format!("seen.get('requests').samples.length >= {samples}"));
    }
    let path = std::path::Path::new(&folder).join(name);
    std::fs::write(path, browser.picture()).expect("the picture can be written");
}

// === impl Traffic ===

impl Traffic {
    /// Some to each cluster, by four clients.
    fn start(proxy: &Proxy) -> Self {
        let address = proxy.listener("main");
        let stop = Arc::new(AtomicBool::new(false));
        let send = |paths: [&'static str; 3]| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for path in paths.iter().cycle() {
                    client.request(format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n"));
                    if stop.load(SeqCst) {
                        return;
                    }
                }
            })
        };
        let paths =
            [["/", "/", "/shop"], ["/", "/shop", "/"], ["/", "/", "/"], ["/shop", "/", "/"]];
        let sending = paths.map(send).into();
        Self { stop, sending }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.sending.drain(..).for_each(|thread| drop(thread.join()));
    }
}
