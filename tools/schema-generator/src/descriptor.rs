//! Reads a `FileDescriptorSet`. Source: `google/protobuf/descriptor.proto`.

use std::collections::HashMap;

use crate::{
    rules,
    wire::{Value, fields},
};

/// Everything that is in the set.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
}

/// `DescriptorProto`, without map entries.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) oneofs: Vec<Oneof>,
}

/// `FieldDescriptorProto`
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    pub(crate) oneof: Option<u64>,
    pub(crate) sensitive: bool,
    pub(crate) deprecated: bool,
    pub(crate) disallowed: bool,
    pub(crate) rules: Vec<String>,
}

/// A field's type.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Scalar(&'static str),
    Message(String),
    Enum(String),
    Map(String, String),
}

/// `OneofDescriptorProto`
#[derive(Debug)]
pub(crate) struct Oneof {
    pub(crate) name: String,
    pub(crate) required: bool,
}

/// `EnumDescriptorProto`
#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) values: Vec<(i32, String)>,
}

/// Extension numbers of `FieldOptions`.
const VALIDATE: u32 = 1071;
const SENSITIVE: u32 = 76_569_463;
const DISALLOWED_BY_DEFAULT: u32 = 189_503_207;

/// Reads a whole set.
pub(crate) fn read(bytes: &[u8]) -> Option<Catalogue> {
    let mut catalogue = Catalogue::default();
    for (_, file) in fields(bytes)?.into_iter().filter(|(number, _)| *number == 1) {
        let file = fields(file.bytes())?;
        let package = file.iter().find(|(number, _)| *number == 2).map(|(_, name)| name.text());
        let package = package.unwrap_or_default();
        for (number, value) in file {
            match number {
                4 => message(&package, value.bytes(), &mut catalogue)?,
                5 => catalogue.enums.push(enumeration(&package, value.bytes())?),
                _ => {}
            }
        }
    }
    catalogue.messages.sort_by(|a, b| a.name.cmp(&b.name));
    catalogue.messages.dedup_by(|a, b| a.name == b.name);
    catalogue.enums.sort_by(|a, b| a.name.cmp(&b.name));
    catalogue.enums.dedup_by(|a, b| a.name == b.name);
    Some(catalogue)
}

fn message(scope: &str, bytes: &[u8], catalogue: &mut Catalogue) -> Option<()> {
    let parts = fields(bytes)?;
    let own = parts.iter().find(|(number, _)| *number == 1)?.1.text();
    let name = if scope.is_empty() { own } else { format!("{scope}.{own}") };
    let mut entries = HashMap::new();
    let mut made = Message { name: name.clone(), fields: Vec::new(), oneofs: Vec::new() };
    for (number, value) in &parts {
        match number {
            3 if is_map_entry(value.bytes()) => {
                let (entry, key, item) = map_entry(value.bytes())?;
                entries.insert(format!("{name}.{entry}"), (key, item));
            }
            3 => message(&name, value.bytes(), catalogue)?,
            4 => catalogue.enums.push(enumeration(&name, value.bytes())?),
            8 => made.oneofs.push(oneof(value.bytes())?),
            _ => {}
        }
    }
    for (_, value) in parts.iter().filter(|(number, _)| *number == 2) {
        let mut field = field(value.bytes())?;
        if let Kind::Message(kind) = &field.kind
            && let Some((key, item)) = entries.get(kind)
        {
            field.kind = Kind::Map(key.clone(), item.clone());
            field.repeated = false;
        }
        made.fields.push(field);
    }
    catalogue.messages.push(made);
    Some(())
}

fn is_map_entry(bytes: &[u8]) -> bool {
    let option = |(number, value): (u32, Value<'_>)| match number {
        7 => {
            fields(value.bytes()).is_some_and(|o| o.iter().any(|(n, v)| *n == 7 && v.number() == 1))
        }
        _ => false,
    };
    fields(bytes).is_some_and(|parts| parts.into_iter().any(option))
}

fn map_entry(bytes: &[u8]) -> Option<(String, String, String)> {
    let parts = fields(bytes)?;
    let name = parts.iter().find(|(number, _)| *number == 1)?.1.text();
    let kind = |wanted: u64| {
        parts
            .iter()
            .filter(|(number, _)| *number == 2)
            .filter_map(|(_, value)| field(value.bytes()))
            .find(|field| field.number == wanted)
            .map(|field| match field.kind {
                Kind::Scalar(name) => name.to_owned(),
                Kind::Message(name) => format!("m:{name}"),
                Kind::Enum(name) => format!("e:{name}"),
                Kind::Map(..) => String::new(),
            })
    };
    Some((name, kind(1)?, kind(2)?))
}

fn field(bytes: &[u8]) -> Option<Field> {
    let mut made = Field {
        number: 0,
        name: String::new(),
        kind: Kind::Scalar(""),
        repeated: false,
        oneof: None,
        sensitive: false,
        deprecated: false,
        disallowed: false,
        rules: Vec::new(),
    };
    let (mut kind, mut type_name) = (0, String::new());
    for (number, value) in fields(bytes)? {
        match number {
            1 => made.name = value.text(),
            3 => made.number = value.number(),
            4 => made.repeated = value.number() == 3,
            5 => kind = value.number(),
            6 => type_name = value.text().trim_start_matches('.').to_owned(),
            8 => options(value.bytes(), &mut made)?,
            9 => made.oneof = Some(value.number()),
            _ => {}
        }
    }
    made.kind = match kind {
        1 => Kind::Scalar("double"),
        2 => Kind::Scalar("float"),
        3 => Kind::Scalar("int64"),
        4 => Kind::Scalar("uint64"),
        5 => Kind::Scalar("int32"),
        6 => Kind::Scalar("fixed64"),
        7 => Kind::Scalar("fixed32"),
        8 => Kind::Scalar("bool"),
        9 => Kind::Scalar("string"),
        11 => Kind::Message(type_name),
        12 => Kind::Scalar("bytes"),
        13 => Kind::Scalar("uint32"),
        14 => Kind::Enum(type_name),
        15 => Kind::Scalar("sfixed32"),
        16 => Kind::Scalar("sfixed64"),
        17 => Kind::Scalar("sint32"),
        18 => Kind::Scalar("sint64"),
        _ => return None,
    };
    Some(made)
}

fn options(bytes: &[u8], made: &mut Field) -> Option<()> {
    for (number, value) in fields(bytes)? {
        match number {
            3 => made.deprecated = value.number() == 1,
            SENSITIVE => made.sensitive = value.number() == 1,
            DISALLOWED_BY_DEFAULT => made.disallowed = value.number() == 1,
            VALIDATE => made.rules = rules::read(value.bytes(), "")?,
            _ => {}
        }
    }
    Some(())
}

fn oneof(bytes: &[u8]) -> Option<Oneof> {
    let mut made = Oneof { name: String::new(), required: false };
    for (number, value) in fields(bytes)? {
        match number {
            1 => made.name = value.text(),
            2 => {
                let options = fields(value.bytes())?;
                made.required = options.iter().any(|(n, v)| *n == VALIDATE && v.number() == 1);
            }
            _ => {}
        }
    }
    Some(made)
}

fn enumeration(scope: &str, bytes: &[u8]) -> Option<Enum> {
    let parts = fields(bytes)?;
    let own = parts.iter().find(|(number, _)| *number == 1)?.1.text();
    let mut values = Vec::new();
    for (_, value) in parts.iter().filter(|(number, _)| *number == 2) {
        let (mut name, mut number) = (String::new(), 0);
        for (part, value) in fields(value.bytes())? {
            match part {
                1 => name = value.text(),
                2 => number = value.number() as i32,
                _ => {}
            }
        }
        values.push((number, name));
    }
    let name = if scope.is_empty() { own } else { format!("{scope}.{own}") };
    Some(Enum { name, values })
}
