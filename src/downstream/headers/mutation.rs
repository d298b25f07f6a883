//! Owns doing to headers what a configuration says.

use crate::{
    codec::{HeaderBlock, Known},
    config::model::route::{AppendAction, EditedName, HeaderEdits},
    format::StreamInfo,
};

/// Values that were made, before any of them is set.
#[derive(Debug, Default)]
pub(crate) struct Made<'e> {
    set: Vec<(&'e EditedName, Vec<u8>)>,
    added: Vec<(&'e EditedName, Vec<u8>)>,
}

// === impl HeaderEdits ===

impl HeaderEdits {
    /// Removes what is to be removed; it comes before all else.
    pub(crate) fn remove_from(&self, headers: &mut HeaderBlock) {
        self.remove.iter().for_each(|name| remove(headers, name));
    }

    /// Makes the values: all of them see the headers as they are before any is set.
    pub(crate) fn make(&self, headers: &HeaderBlock, info: &StreamInfo<'_>) -> Made<'_> {
        let mut made = Made::default();
        for edit in &self.add {
            let mut value = Vec::new();
            edit.value.write_omitting(&mut value, info);
            if value.is_empty() && !edit.keep_empty {
                continue;
            }
            // A value from a peer's header holds none of these; one from elsewhere must not either.
            value.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            let there = || match edit.name.known {
                Known::Other => headers.get_name(&edit.name.text).is_some(),
                known => headers.has(known),
            };
            match edit.action {
                AppendAction::AppendIfExistsOrAdd => made.added.push((&edit.name, value)),
                AppendAction::AddIfAbsent if !there() => made.added.push((&edit.name, value)),
                AppendAction::OverwriteIfExists if there() => made.set.push((&edit.name, value)),
                AppendAction::OverwriteIfExistsOrAdd => made.set.push((&edit.name, value)),
                AppendAction::AddIfAbsent | AppendAction::OverwriteIfExists => {}
            }
        }
        made
    }
}

// === impl Made ===

impl Made<'_> {
    /// Sets and adds. What is set moves to the end. Observed: Envoy 1.40.
    pub(crate) fn put_into(self, headers: &mut HeaderBlock) {
        for (name, value) in &self.set {
            remove(headers, name);
            append(headers, name, value);
        }
        for (name, value) in &self.added {
            append(headers, name, value);
        }
    }
}

fn remove(headers: &mut HeaderBlock, name: &EditedName) {
    match name.known {
        Known::Other => headers.remove_name(&name.text),
        known => headers.remove(known),
    }
}

fn append(headers: &mut HeaderBlock, name: &EditedName, value: &[u8]) {
    match name.known {
        Known::Other => headers.append_name(&name.text, value),
        known => headers.append(known, value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{config::model::route::HeaderEdit, format::Format};

    type Lines = Vec<(String, String)>;

    fn edit(name: &str, value: &str, action: AppendAction) -> HeaderEdit {
        let (name, value) = (EditedName::new(name), Format::parse(value).unwrap());
        HeaderEdit { name, value, action, keep_empty: false }
    }

    fn after(edits: &HeaderEdits, lines: &Lines) -> Lines {
        let mut headers = HeaderBlock::default();
        for (name, value) in lines {
            headers.append_name(name.as_bytes(), value.as_bytes());
        }
        edits.remove_from(&mut headers);
        let made = edits.make(&headers, &StreamInfo::default());
        made.put_into(&mut headers);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn lines(text: &str) -> Lines {
        let pair = |line: &str| line.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
        text.split(' ').filter_map(pair).collect()
    }

    #[test]
    fn headers_are_removed_then_set_then_added_as_each_action_says() {
        use AppendAction as A;
        for (action, there, expected) in [
            (A::AppendIfExistsOrAdd, "x=1 via=2", "x=1 via=2 x=new"),
            (A::AddIfAbsent, "x=1 via=2", "x=1 via=2"),
            (A::AddIfAbsent, "via=2", "via=2 x=new"),
            (A::OverwriteIfExistsOrAdd, "x=1 via=2 x=3", "via=2 x=new"),
            (A::OverwriteIfExistsOrAdd, "via=2", "via=2 x=new"),
            (A::OverwriteIfExists, "x=1 via=2", "via=2 x=new"),
            (A::OverwriteIfExists, "via=2", "via=2"),
        ] {
            let edits = HeaderEdits { remove: Vec::new(), add: vec![edit("X", "new", action)] };
            assert_eq!(after(&edits, &lines(there)), lines(expected), "{action:?} {there}");
        }
        let edits = HeaderEdits {
            remove: vec![EditedName::new("Via"), EditedName::new("x-b")],
            add: vec![
                edit("x-b", "1", A::AppendIfExistsOrAdd),
                edit("via", "2", A::OverwriteIfExistsOrAdd),
                edit("x-c", "%REQ(none)%", A::AppendIfExistsOrAdd),
            ],
        };
        assert_eq!(after(&edits, &lines("x-a=0 via=9 x-b=9")), lines("x-a=0 via=2 x-b=1"));
    }

    proptest! {
        #[test]
        fn edits_do_what_a_plain_list_of_lines_would(
            there in prop::collection::vec(("(via|te|x-a|x-b)", "[0-9]"), 0..6),
            remove in prop::collection::vec("(via|te|x-a|x-b)", 0..3),
            add in prop::collection::vec(("(via|te|x-a|x-b)", "[a-z]?", 0..4usize), 0..5),
        ) {
            use AppendAction as A;
            let actions = [
                A::AppendIfExistsOrAdd, A::AddIfAbsent, A::OverwriteIfExistsOrAdd, A::OverwriteIfExists,
            ];
            let edits = HeaderEdits {
                remove: remove.iter().map(|name| EditedName::new(name)).collect(),
                add: add.iter().map(|(name, value, at)| edit(name, value, actions[*at])).collect(),
            };
            let mut plain: Lines = there.clone();
            plain.retain(|(name, _)| !remove.contains(name));
            let before = plain.clone();
            let has = |name: &String| before.iter().any(|(own, _)| own == name);
            let said = add.iter().filter(|(_, value, _)| !value.is_empty());
            let (mut set, mut added) = (Lines::new(), Lines::new());
            for (name, value, at) in said {
                let line = (name.clone(), value.clone());
                match actions[*at] {
                    A::AppendIfExistsOrAdd => added.push(line),
                    A::AddIfAbsent if !has(name) => added.push(line),
                    A::OverwriteIfExistsOrAdd => set.push(line),
                    A::OverwriteIfExists if has(name) => set.push(line),
                    _ => {}
                }
            }
            for line in set {
                plain.retain(|(name, _)| *name != line.0);
                plain.push(line);
            }
            plain.extend(added);
            prop_assert_eq!(after(&edits, &there), plain);
        }
    }
}
