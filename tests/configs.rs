//! Every configuration that is shipped loads, and mistakes are told.

mod support;

use std::path::{Path, PathBuf};

use support::{
    certificates::Authority,
    proxy::{Proxy, binary, folder},
};

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => out.extend(yaml_files(&path)),
            false if path.extension().is_some_and(|e| e == "yaml") => out.push(path),
            false => {}
        }
    }
    out
}

/// A folder in which the certificates lie that `examples/tls` names.
fn with_certificates() -> PathBuf {
    let here = folder();
    let (authority, certificates) = (Authority::new("examples"), here.join("certificates"));
    std::fs::create_dir_all(&certificates).expect("a folder");
    std::fs::write(certificates.join("authority.pem"), authority.pem()).expect("a file");
    for (file, name) in
        [("localhost", "localhost"), ("edge", "edge.internal"), ("inside", "inside.internal")]
    {
        authority.issue(&[name]).write(&certificates, file);
    }
    here
}

#[test]
fn the_tls_example_is_spoken_to_and_speaks_over_tls() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tls/edge.yaml"),
    );
    let here = with_certificates();
    let inside = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let inside = inside.expect("a free port").port().to_string();
    let absolute = here.join("certificates/").display().to_string();
    let mut config = text.expect("the example").replace("certificates/", &absolute);
    config = config.replace("9443", &inside);
    for port in ["8001", "8443", "8080"] {
        config = config.replace(&format!("port_value: {port}"), "port_value: 0");
    }
    let proxy = Proxy::start(&config);
    let authority = std::fs::read_to_string(here.join("certificates/authority.pem"));
    let trusts = support::certificates::roots(&authority.expect("the authority"));
    for (path, body) in [("/", "Hello over TLS.\n"), ("/inside", "Hello from inside.\n")] {
        let mut client =
            support::tls::connect_trusting(proxy.listener("https"), "localhost", trusts.clone())
                .expect("a handshake");
        let answer = support::tls::get(&mut client, path).expect("an answer");
        assert!(answer.ends_with(body), "{answer}");
    }
    let sent = support::client::get(proxy.listener("http"), "/x");
    assert_eq!(sent.status, 301);
    assert!(sent.header("location").is_some_and(|to| to.starts_with("https://")));
    assert_eq!(proxy.stat("listener.127.0.0.1_0.ssl.handshake"), Some(2));
}

#[test]
fn every_shipped_configuration_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = with_certificates();
    let mut seen = 0;
    for folder in ["configs", "examples"] {
        for file in yaml_files(&root.join(folder)) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().contains("compose")) {
                continue;
            }
            seen += 1;
            let mut command = binary();
            command.args(["--mode", "validate", "-c"]).arg(&file).current_dir(&here);
            let output = command.output();
            let output = output.expect("the binary runs");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {told}", file.display());
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("OK"), "{said}");
        }
    }
    assert!(seen >= 5, "only {seen} files");
}

#[test]
fn what_the_upgrade_writes_is_valid_v3_and_stays_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let v2 = root.join("examples/front-proxy/front-envoy.yaml");
    let upgraded = binary().arg("upgrade").arg(&v2).output().expect("the binary runs");
    assert!(upgraded.status.success());
    let notes = String::from_utf8_lossy(&upgraded.stderr);
    assert!(notes.contains("`hosts` is `load_assignment` in v3"), "{notes}");
    let file = folder().join("v3.yaml");
    std::fs::write(&file, &upgraded.stdout).expect("the file can be written");
    let again = binary().arg("upgrade").arg(&file).output().expect("the binary runs");
    assert_eq!(again.stdout, upgraded.stdout);
    assert!(again.stderr.is_empty(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn mistakes_are_told_with_their_place_and_exit_1() {
    let file = folder().join("bad.yaml");
    std::fs::write(&file, "static_resources:\n  clusters:\n  - nme: a\n    connect_timeout: 1ms\n")
        .expect("written");
    for mode in ["validate", "serve"] {
        let output =
            binary().args(["--mode", mode, "-c"]).arg(&file).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr);
        for part in ["bad.yaml:3:5", "did you mean `name`?", "bad.yaml:4:22", "write 0.001s"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
