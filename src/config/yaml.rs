//! Owns reading YAML and JSON into a tree, with bounds on nesting and on what aliases expand to.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{
    Format, Source,
    diagnostic::{Diagnostics, Span},
    node::{Entry, Node, NodeKind},
};

/// Levels of nesting at most. Envoy's own configurations stay below 40.
const DEPTH_MAX: usize = 128;

/// Values that aliases may add to a document; "billion laughs" ends here.
const ALIASED_VALUES_MAX: usize = 100_000;

/// Reads the first document of a source.
///
/// # Errors
///
/// One located diagnostic: a document that cannot be read has no second mistake worth telling.
pub fn read(source: &Source, notes: &mut Diagnostics) -> Result<Node, Diagnostics> {
    if source.format == Format::Json {
        check_json(source)?;
    }
    let mut reader = Reader { anchors: HashMap::new(), aliased: 0, notes };
    let mut parser = Parser::new_from_str(&source.text);
    match reader.document(&mut parser) {
        Ok(Some(node)) => Ok(node),
        Ok(None) => Err(one(Span::default(), "the document is empty", "")),
        Err(diagnostics) => Err(diagnostics),
    }
}

fn one(at: Span, text: impl Into<String>, hint: &str) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    diagnostics.error(at, "", text, hint);
    diagnostics
}

/// JSON is read as YAML, which it is, once it is known to be JSON: Envoy decides by the file's name.
fn check_json(source: &Source) -> Result<(), Diagnostics> {
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&source.text);
    parsed.map(|_| ()).map_err(|error| {
        let line = u32::try_from(error.line()).unwrap_or(0);
        let column = u32::try_from(error.column()).unwrap_or(0).max(1);
        let text = error.to_string();
        let text = text.split(" at line").next().unwrap_or_default();
        let hint = "a file that does not end in .yaml or .yml is read as JSON";
        one(Span { line, column, length: 1 }, format!("not JSON: {text}"), hint)
    })
}

struct Reader<'n> {
    anchors: HashMap<usize, Node>,
    aliased: usize,
    notes: &'n mut Diagnostics,
}

type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

// === impl Reader ===

impl Reader<'_> {
    fn document(&mut self, parser: &mut Events<'_>) -> Result<Option<Node>, Diagnostics> {
        loop {
            let (event, at) = next(parser)?;
            match event {
                Event::StreamEnd | Event::DocumentEnd => return Ok(None),
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                event => return self.value(event, at, parser, 0).map(Some),
            }
        }
    }

    fn value(
        &mut self,
        event: Event<'_>,
        at: Span,
        parser: &mut Events<'_>,
        depth: usize,
    ) -> Result<Node, Diagnostics> {
        if depth > DEPTH_MAX {
            return Err(one(at, format!("nested more than {DEPTH_MAX} levels deep"), ""));
        }
        let (anchor, kind) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, at) = next(parser)?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.value(event, at, parser, depth + 1)?);
                }
                (anchor, NodeKind::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, self.mapping(parser, depth)?),
            _ => return Err(one(at, "a value is missing here", "")),
        };
        let node = Node { at, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, parser: &mut Events<'_>, depth: usize) -> Result<NodeKind, Diagnostics> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = next(parser)?;
            if event == Event::MappingEnd {
                return Ok(NodeKind::Map(entries));
            }
            let key = self.value(event, at, parser, depth + 1)?;
            let (event, value_at) = next(parser)?;
            let value = self.value(event, value_at, parser, depth + 1)?;
            let NodeKind::Scalar { text: key, .. } = key.kind else {
                return Err(one(at, "a key must be text", ""));
            };
            // Envoy takes the last of two equal keys and says nothing.
            if let Some(old) = entries.iter().position(|entry| entry.key == key) {
                let text = format!("`{key}` stands here twice; the last one counts");
                self.notes.warning(at, "", text, "");
                entries.remove(old);
            }
            entries.push(Entry { key, at, value });
        }
    }

    fn alias(&mut self, anchor: usize, at: Span) -> Result<Node, Diagnostics> {
        let node = self.anchors.get(&anchor).cloned();
        let node = node.ok_or_else(|| one(at, "this alias refers to no anchor before it", ""))?;
        self.aliased += size(&node);
        match self.aliased > ALIASED_VALUES_MAX {
            true => Err(one(at, "aliases expand to more values than a configuration can have", "")),
            false => Ok(node),
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        NodeKind::List(items) => items.iter().map(size).sum(),
        NodeKind::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle) -> NodeKind {
    let quoted = style != ScalarStyle::Plain;
    match text {
        "" | "~" | "null" | "Null" | "NULL" if !quoted => NodeKind::Null,
        text => NodeKind::Scalar { text: text.to_owned(), quoted },
    }
}

fn next<'a>(parser: &mut Events<'a>) -> Result<(Event<'a>, Span), Diagnostics> {
    match parser.next_event() {
        Some(Ok((event, span))) => {
            let (start, end) = (span.start, span.end);
            let length = match start.line() == end.line() {
                true => end.col().saturating_sub(start.col()),
                false => 1,
            };
            let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let at = Span {
                line: small(start.line()),
                column: small(start.col() + 1),
                length: small(length.max(1)),
            };
            Ok((event, at))
        }
        Some(Err(error)) => {
            let mark = error.marker();
            let line = u32::try_from(mark.line()).unwrap_or(0);
            let column = u32::try_from(mark.col() + 1).unwrap_or(1);
            let text = format!("not YAML: {}", error.info());
            Err(one(Span { line, column, length: 1 }, text, "check indentation and quotes here"))
        }
        None => Ok((Event::StreamEnd, Span::default())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(text: &str) -> Result<Node, Diagnostics> {
        read(&Source::yaml("test.yaml", text), &mut Diagnostics::default())
    }

    #[test]
    fn values_know_their_place_and_their_quotes() {
        let node = tree("a:\n  b: \"yes\"\n  c: [1, ~]\nd: &x {e: no}\nf: *x\n").unwrap();
        let b = node.get("a").and_then(|a| a.get("b")).unwrap();
        assert_eq!((b.at.line, b.at.column, b.at.length), (2, 6, 5));
        assert_eq!(b.kind, NodeKind::Scalar { text: "yes".to_owned(), quoted: true });
        let c = node.get("a").and_then(|a| a.get("c")).unwrap();
        assert_eq!(c.items()[1].kind, NodeKind::Null);
        assert_eq!(node.get("f").unwrap().get("e"), node.get("d").unwrap().get("e"));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_is_warned_of() {
        let mut notes = Diagnostics::default();
        let node = read(&Source::yaml("t.yaml", "a: 1\na: 2\n"), &mut notes).unwrap();
        assert_eq!(node.get("a").and_then(Node::as_text), Some("2"));
        assert!(!notes.is_empty());
    }

    #[test]
    fn bombs_and_wells_are_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(9);
            laughs += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(tree(&laughs).is_err());
        assert!(tree(&"[".repeat(10_000)).is_err());
        let json = Source { format: Format::Json, ..Source::yaml("t.txt", "a: 1") };
        let error = read(&json, &mut Diagnostics::default()).unwrap_err();
        assert!(error.sorted()[0].hint.contains("read as JSON"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\n\\t]{0,200}", noise in any::<String>()) {
            let _ = tree(&text);
            let _ = tree(&noise);
        }
    }
}
