//! Every configuration that is shipped loads, and mistakes are told.

mod support;

use std::path::{Path, PathBuf};

use support::proxy::{binary, folder};

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

#[test]
fn every_shipped_configuration_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in ["configs", "examples"] {
        for file in yaml_files(&root.join(folder)) {
            if file.file_name().is_some_and(|name| name.to_string_lossy().contains("compose")) {
                continue;
            }
            seen += 1;
            let output = binary().args(["--mode", "validate", "-c"]).arg(&file).output();
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
