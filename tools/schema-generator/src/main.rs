//! Turns Envoy's protobuf descriptors into the schema tables of `src/config/schema`.
//!
//! Run by hand when the API moves: `cargo run -p schema-generator > src/config/schema/tables.tsv`. The
//! descriptors come from the package of the crate `envoy-types`, which is locked but never compiled.

mod descriptor;
mod rules;
mod wire;

use std::{
    collections::hash_map::DefaultHasher,
    error::Error,
    fs,
    hash::Hasher,
    io::{Write, stdout},
    path::PathBuf,
    process::Command,
};

use descriptor::{Catalogue, Field, Kind};

fn main() -> Result<(), Box<dyn Error>> {
    let (version, path) = package()?;
    let bytes = fs::read(path.join("src/generated/types.bin"))?;
    let catalogue = descriptor::read(&bytes).ok_or("the descriptor set cannot be read")?;
    let text = print(&catalogue);
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let fields: usize = catalogue.messages.iter().map(|message| message.fields.len()).sum();
    let mut out = stdout().lock();
    writeln!(
        out,
        "#\tenvoy-types\t{version}\t{:016x}\t{}\t{fields}\t{}",
        hasher.finish(),
        catalogue.messages.len(),
        catalogue.enums.len()
    )?;
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// Version and folder of the crate `envoy-types`.
fn package() -> Result<(String, PathBuf), Box<dyn Error>> {
    let output = Command::new("cargo").args(["metadata", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == "envoy-types");
    let package = package.ok_or("envoy-types is not among the packages")?;
    let manifest = package["manifest_path"].as_str().ok_or("no manifest path")?;
    let folder = PathBuf::from(manifest).parent().ok_or("no folder")?.to_owned();
    Ok((package["version"].as_str().unwrap_or_default().to_owned(), folder))
}

/// One line a message (`M`), field (`f`), oneof (`o`), enum (`E`) and value (`v`).
fn print(catalogue: &Catalogue) -> String {
    let mut out = String::new();
    for message in &catalogue.messages {
        out += &format!("M\t{}\n", message.name);
        for oneof in &message.oneofs {
            out +=
                &format!("o\t{}\t{}\n", oneof.name, if oneof.required { "required" } else { "" });
        }
        for field in &message.fields {
            out += &line(field);
        }
    }
    for one in &catalogue.enums {
        out += &format!("E\t{}\n", one.name);
        for (number, name) in &one.values {
            out += &format!("v\t{number}\t{name}\n");
        }
    }
    out
}

fn line(field: &Field) -> String {
    let kind = match &field.kind {
        Kind::Scalar(name) => (*name).to_owned(),
        Kind::Message(name) => format!("m:{name}"),
        Kind::Enum(name) => format!("e:{name}"),
        Kind::Map(key, value) => format!("map:{key}:{value}"),
    };
    let oneof = field.oneof.map_or("-".to_owned(), |index| index.to_string());
    let mut flags = String::new();
    for (flag, letter) in [
        (field.repeated, 'r'),
        (field.sensitive, 's'),
        (field.deprecated, 'd'),
        (field.disallowed, 'x'),
    ] {
        if flag {
            flags.push(letter);
        }
    }
    let rules = field.rules.join(" ");
    format!("f\t{}\t{}\t{kind}\t{oneof}\t{flags}\t{rules}\n", field.number, field.name)
}
