//! `/runtime` and `/runtime_modify`.

use serde_json::{Map, Value, json};
use understudy_actors::{Command, command::Setting};

use super::{Answer, Ask, Desk};

const USAGE: &str = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n       \
    or send the parameters as form values\nuse an empty value to remove a previously added override";

pub(super) fn runtime(desk: &Desk, _: &Ask) -> Answer {
    let runtime = desk.view.runtime.read();
    let layers: Vec<&str> = runtime.layers.iter().map(|layer| layer.name.as_str()).collect();
    let mut entries = Map::new();
    for (key, value) in runtime.entries() {
        let own = runtime.layers.iter();
        let own = own.map(|layer| layer.entries.get(key).map_or("", |value| value.text.as_str()));
        let values: Vec<&str> = own.collect();
        entries.insert(key.clone(), json!({"final_value": value.text, "layer_values": values}));
    }
    let value = json!({"entries": Value::Object(entries), "layers": layers});
    Answer::json(&value)
}

pub(super) fn modify(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    let changes: Vec<_> = ask.changes().cloned().collect();
    match changes.is_empty() {
        true => Err(Answer::status(400, USAGE)),
        false => Ok(Command::Set(Setting::Runtime(changes), ask.term()?)),
    }
}
