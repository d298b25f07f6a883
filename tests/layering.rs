//! Who may import whom. The crate edge keeps the control plane clean; this keeps the rest.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            // Tests may reach further than the code they test.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            out.push((path, code));
        }
    }
    out
}

#[test]
fn each_layer_uses_only_what_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let fences: &[(&str, &[&str])] = &[
        ("config", &["tokio::", "actix", "hyper", "crate::downstream", "crate::admin"]),
        (
            "codec",
            &[
                "crate::route",
                "crate::filter",
                "crate::upstream",
                "crate::downstream",
                "actix",
                "hyper",
            ],
        ),
        ("downstream", &["actix", "Addr<", "Handler<", "Mutex", "RwLock", "hyper", "crate::admin"]),
        (
            "upstream",
            &["actix", "Addr<", "Handler<", "Mutex", "RwLock", "hyper", "crate::downstream"],
        ),
        ("network", &["actix", "Addr<", "Handler<", "Mutex", "RwLock", "hyper", "crate::admin"]),
        ("filter", &["actix", "Addr<", "Mutex", "hyper", "crate::downstream", "crate::upstream"]),
        (
            "stream",
            &["actix", "tokio::", "hyper", "crate::downstream", "crate::upstream", "crate::route"],
        ),
        ("route", &["actix", "tokio::", "Mutex", "hyper", "crate::downstream", "crate::upstream"]),
        (
            "transport",
            &["actix", "Mutex", "hyper", "crate::downstream", "crate::upstream", "crate::route"],
        ),
        ("worker", &["actix", "Arc<", "Mutex", "RwLock", "crate::downstream", "crate::upstream"]),
        ("discovery", &["crate::route", "crate::filter", "actix", "crate::downstream"]),
        ("admin", &["Addr<", "Publisher", "actix"]),
        ("re2", &["tokio::", "actix", "crate::"]),
        ("access_log", &["actix", "crate::downstream", "crate::route"]),
    ];
    let mut broken = Vec::new();
    for (layer, forbidden) in fences {
        for (path, code) in sources(&root.join(layer)) {
            for word in forbidden.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{} uses {word}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_http2_on_the_admin_port_is_hypers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
    for (path, code) in sources(&root) {
        let its = path.ends_with("face/http2.rs");
        assert!(its || !code.contains("hyper"), "{}", path.display());
    }
}

#[test]
fn nothing_but_main_uses_the_demo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (path, code) in sources(&root) {
        let own = path.components().any(|part| part.as_os_str() == "demo");
        if !own && !path.ends_with("main.rs") {
            assert!(!code.contains("crate::demo"), "{}", path.display());
        }
    }
}
