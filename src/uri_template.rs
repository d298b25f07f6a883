//! Owns Envoy's URI templates: paths with named parts, to be matched and to be written anew.

use regex::bytes::Regex;

/// Named parts a template may have.
const VARIABLES_MAX: usize = 5;
/// Letters of a part's name.
const NAME_BYTES_MAX: usize = 16;
/// What a literal may hold besides letters and digits; a part may hold `*` too.
const LITERAL_SIGNS: &[u8] = b"-._~%!$&'()+,;:@=";
/// What a part stands for: characters of one segment, or any number of segments.
const SEGMENT: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=*]+";
const SEGMENTS: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=*/]*";

/// A path to match: literals, `*` (one segment), `**` (any number of them, the last to vary), `{name}`,
/// `{name=…}`, and a literal to end with (`**.m3u8`).
///
/// Source: `envoy.extensions.path.match.uri_template.v3`; observed: Envoy 1.40, seventy templates.
#[derive(Debug)]
pub struct PathTemplate {
    text: String,
    regex: Regex,
    /// In the order of their groups.
    names: Vec<String>,
}

/// A path to write: literals, and parts of the path that was matched.
#[derive(Debug)]
pub struct PathRewrite {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    /// What stood for the part: its group.
    Part(usize),
}

/// Why a template was refused, in Envoy's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It does not begin with a slash, or has blanks in it.
    #[error("Invalid pattern: {0:?}")]
    Pattern(String),
    /// It has characters in it that a path has not, or is empty.
    #[error("Invalid literal: {0:?}")]
    Literal(String),
    /// More than a literal follows a star or a part.
    #[error("Invalid suffix literal: {0:?}")]
    Suffix(String),
    /// A brace is open at the end.
    #[error("Unmatched variable bracket in {0:?}")]
    Bracket(String),
    /// Not a letter, and then letters, digits and underscores.
    #[error("Invalid variable name: {0:?}")]
    Name(String),
    /// Too long.
    #[error(
        "Invalid variable name length (length of {0:?} should be at least 1 and no more than 16)"
    )]
    NameLength(String),
    /// Two parts of a name.
    #[error("Repeated variable name: {0:?}")]
    Repeated(String),
    /// `{name=}`
    #[error("Empty variable match")]
    EmptyMatch,
    /// What follows `{name=*`.
    #[error("Invalid variable match: {0:?}")]
    Match(String),
    /// Nobody would know where the one ends and the other begins.
    #[error("Glob after text glob.")]
    GlobAfterTextGlob,
    /// Too many parts.
    #[error("Exceeded variable count limit (5)")]
    TooManyVariables,
    /// The path that is matched has no such part.
    #[error("no part of the path is called {0:?}")]
    UnknownPart(String),
    /// The expression that comes of it is too large.
    #[error("too large")]
    TooLarge,
}

/// Reads a template from left to right.
struct Reader<'t> {
    rest: &'t str,
    pattern: String,
    names: Vec<String>,
    /// `**` was there: no star may follow.
    any_segments: bool,
}

// === impl PathTemplate ===

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// Envoy's own. A `*` within a literal (`/a*b`) is refused besides: Envoy takes it for a part of a
    /// regular expression.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        let graphic = template.bytes().all(|byte| byte.is_ascii_graphic());
        let bad = || TemplateError::Pattern(template.to_owned());
        let rest = template.strip_prefix('/').filter(|_| graphic).ok_or_else(bad)?;
        let pattern = "\\A/".to_owned();
        let mut reader = Reader { rest, pattern, names: Vec::new(), any_segments: false };
        reader.read()?;
        let Reader { mut pattern, names, .. } = reader;
        pattern.push_str("\\z");
        let regex = regex::bytes::RegexBuilder::new(&pattern).unicode(false).build();
        let regex = regex.map_err(|_| TemplateError::TooLarge)?;
        Ok(Self { text: template.to_owned(), regex, names })
    }

    /// The template as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path, without query, is as the template has it.
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }
}

// === impl PathRewrite ===

impl PathRewrite {
    /// Reads what is to be written of paths that `template` matches.
    ///
    /// # Errors
    ///
    /// It is no path, or names a part that the template has not.
    pub fn new(rewrite: &str, template: &PathTemplate) -> Result<Self, TemplateError> {
        if !rewrite.starts_with('/') || rewrite.contains("//") {
            return Err(TemplateError::Pattern(rewrite.to_owned()));
        }
        let (mut rest, mut pieces) = (rewrite, Vec::new());
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('{') {
                let bracket = || TemplateError::Bracket(rest.to_owned());
                let (name, after) = inside.split_once('}').ok_or_else(bracket)?;
                check_name(name)?;
                let unknown = || TemplateError::UnknownPart(name.to_owned());
                let group = template.names.iter().position(|known| known == name);
                pieces.push(Piece::Part(group.ok_or_else(unknown)? + 1));
                rest = after;
                continue;
            }
            let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            let fits = |byte: u8| is_literal(byte) || byte == b'/' || byte == b'*';
            if !literal.bytes().all(fits) {
                return Err(TemplateError::Literal(literal.to_owned()));
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            rest = after;
        }
        Ok(Self { pieces })
    }

    /// The path, without query, written anew; none if it is not one of `template`'s.
    pub fn apply(&self, template: &PathTemplate, path: &[u8]) -> Option<Vec<u8>> {
        let parts = template.regex.captures(path)?;
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Part(group) => out.extend_from_slice(parts.get(*group)?.as_bytes()),
            }
        }
        Some(out)
    }
}

// === impl Reader ===

impl<'t> Reader<'t> {
    fn read(&mut self) -> Result<(), TemplateError> {
        while !self.rest.is_empty() {
            match self.rest.as_bytes() {
                [b'*', ..] => self.star()?,
                [b'{', ..] => self.variable()?,
                _ => self.literal()?,
            }
            if let Some(rest) = self.rest.strip_prefix('/') {
                self.pattern.push('/');
                self.rest = rest;
            } else if !self.rest.is_empty() {
                return self.suffix();
            }
        }
        Ok(())
    }

    /// `*` or `**`
    fn star(&mut self) -> Result<(), TemplateError> {
        if std::mem::replace(&mut self.any_segments, self.rest.starts_with("**")) {
            return Err(TemplateError::GlobAfterTextGlob);
        }
        let (segments, rest) = match self.rest.strip_prefix("**") {
            Some(rest) => (SEGMENTS, rest),
            None => (SEGMENT, &self.rest[1..]),
        };
        self.pattern.push_str(segments);
        self.rest = rest;
        Ok(())
    }

    /// Text up to the next slash, or to the part that it stands before.
    fn literal(&mut self) -> Result<(), TemplateError> {
        let segment = self.rest.split('/').next().unwrap_or_default();
        let before_part = segment.find('{').filter(|_| segment.ends_with('}'));
        let literal = &segment[..before_part.unwrap_or(segment.len())];
        self.push(literal).ok_or_else(|| TemplateError::Literal(segment.to_owned()))?;
        self.rest = &self.rest[literal.len()..];
        match before_part {
            Some(_) => self.variable(),
            None => Ok(()),
        }
    }

    /// What ends the path behind a star or a part.
    fn suffix(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest;
        self.push(rest).ok_or_else(|| TemplateError::Suffix(rest.to_owned()))?;
        self.rest = "";
        Ok(())
    }

    /// `{name}` or `{name=…}`
    fn variable(&mut self) -> Result<(), TemplateError> {
        let whole = self.rest;
        let bracket = || TemplateError::Bracket(whole.to_owned());
        let (inside, rest) = whole[1..].split_once('}').ok_or_else(bracket)?;
        let (name, stands_for) = match inside.split_once('=') {
            Some((name, stands_for)) => (name, stands_for),
            None => (inside, "*"),
        };
        self.name(name)?;
        if stands_for.is_empty() {
            return Err(TemplateError::EmptyMatch);
        }
        self.pattern.push('(');
        self.rest = stands_for;
        loop {
            match self.rest.starts_with('*') {
                true => self.star()?,
                false => self.plain_literal()?,
            }
            match self.rest.strip_prefix('/') {
                Some(more) if !more.is_empty() => {
                    self.pattern.push('/');
                    self.rest = more;
                }
                None if self.rest.is_empty() => break,
                _ => return Err(TemplateError::Match(self.rest.to_owned())),
            }
        }
        self.pattern.push(')');
        self.rest = rest;
        Ok(())
    }

    fn plain_literal(&mut self) -> Result<(), TemplateError> {
        let literal = self.rest.split('/').next().unwrap_or_default();
        self.push(literal).ok_or_else(|| TemplateError::Literal(literal.to_owned()))?;
        self.rest = &self.rest[literal.len()..];
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<(), TemplateError> {
        check_name(name)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(TemplateError::NameLength(name.to_owned()));
        }
        if self.names.iter().any(|known| known == name) {
            return Err(TemplateError::Repeated(name.to_owned()));
        }
        if self.names.len() == VARIABLES_MAX {
            return Err(TemplateError::TooManyVariables);
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Takes a literal, unless it is none.
    fn push(&mut self, literal: &str) -> Option<()> {
        if literal.is_empty() || !literal.bytes().all(is_literal) {
            return None;
        }
        self.pattern.push_str(&regex::escape(literal));
        Some(())
    }
}

fn check_name(name: &str) -> Result<(), TemplateError> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && word { Ok(()) } else { Err(TemplateError::Name(name.to_owned())) }
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || LITERAL_SIGNS.contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_as_envoys_do() {
        for (template, takes, refuses) in [
            ("/bar/*/fu", &["/bar/baz/fu", "/bar/*/fu"][..], &["/bar/fu", "/bar/baz/fu/"][..]),
            (
                "/v/{x}",
                &["/v/a", "/v/a.b-c_d~e", "/v/a@b", "/v/a!$&(),;=b"],
                &["/v/", "/v", "/v/a/b"],
            ),
            ("/w/{path=**}/m", &["/w/a/b/m", "/w//m"], &["/w/m", "/w/a/b"]),
            ("/w/{path=**}.m3u8", &["/w/a/b/c.m3u8", "/w/.m3u8"], &["/w/aXm3u8"]),
            ("/lit/{lang=en}", &["/lit/en"], &["/lit/fr"]),
            ("/dd/**", &["/dd/x/y", "/dd/x", "/dd/"], &["/d", "/dd"]),
            ("/", &["/"], &["/a"]),
            ("/**", &["/", "/a/b/"], &["/a[b", "/a\"b", "/a|b"]),
            ("/a/b/", &["/a/b/"], &["/a/b"]),
            ("/*/**", &["/a/b", "/a/"], &["/a", "/"]),
            ("/q{x}", &["/qa", "/qab"], &["/q", "/qa/b"]),
            ("/{x}b", &["/ab", "/abb"], &["/b", "/a/b"]),
            ("/x/**b", &["/x/b", "/x/a/b", "/x/ab"], &["/x/"]),
            ("/x/*.txt", &["/x/a.txt"], &["/x/.txt", "/x/a/b.txt", "/x/aXtxt"]),
            ("/y/{x=k/*}", &["/y/k/a"], &["/y/k", "/y/k/a/b"]),
            ("/{x=a/**}/c", &["/a/b/c", "/a//c"], &["/a/c"]),
            ("/s/*/", &["/s/a/"], &["/s/a"]),
            ("/k/{x=*/*}", &["/k/a/b"], &["/k/a"]),
        ] {
            let compiled = PathTemplate::new(template).unwrap();
            takes
                .iter()
                .for_each(|path| assert!(compiled.is_match(path.as_bytes()), "{template} {path}"));
            refuses
                .iter()
                .for_each(|path| assert!(!compiled.is_match(path.as_bytes()), "{template} {path}"));
        }
    }

    #[test]
    fn what_is_no_template_is_refused_in_envoys_words() {
        for (template, told) in [
            ("/**/a/**", "Glob after text glob."),
            ("/{x=**}/*", "Glob after text glob."),
            ("no/slash", "Invalid pattern: \"no/slash\""),
            ("/a b", "Invalid pattern: \"/a b\""),
            ("/a{", "Invalid literal: \"a{\""),
            ("/a[b", "Invalid literal: \"a[b\""),
            ("/a//b", "Invalid literal: \"\""),
            ("/a/{x}/{x}", "Repeated variable name: \"x\""),
            ("/{}", "Invalid variable name: \"\""),
            ("/{1x}", "Invalid variable name: \"1x\""),
            ("/{x=a/{y}}", "Invalid literal: \"{y\""),
            ("/{v1}/{v2}/{v3}/{v4}/{v5}/{v6}", "Exceeded variable count limit (5)"),
            (
                "/{abcdefghijklmnopq}",
                "Invalid variable name length (length of \"abcdefghijklmnopq\" should be at least 1 and no more than 16)",
            ),
            ("/{x=*.a}", "Invalid variable match: \".a\""),
            ("/k/{x=a/}", "Invalid variable match: \"/\""),
            ("/k/{x=}", "Empty variable match"),
            ("/{x}{y}", "Invalid suffix literal: \"{y}\""),
            ("/a*b", "Invalid literal: \"a*b\""),
        ] {
            assert_eq!(PathTemplate::new(template).unwrap_err().to_string(), told, "{template}");
        }
    }

    #[test]
    fn a_path_is_written_anew_from_its_parts() {
        for (template, rewrite, path, expected) in [
            ("/bar/{a}/{b=**}", "/{b}/x/{a}", "/bar/1/2/3", "/2/3/x/1"),
            ("/cc/*/y", "/static", "/cc/z/y", "/static"),
            ("/ee/{x}", "/{x}.html", "/ee/v", "/v.html"),
            ("/gg/{x}", "/{x}/{x}/", "/gg/v", "/v/v/"),
            ("/hh/{x=**}.m3u8", "/h/{x}", "/hh/a/b.m3u8", "/h/a/b"),
            ("/a/{x}", "/*", "/a/b", "/*"),
        ] {
            let template = PathTemplate::new(template).unwrap();
            let rewrite = PathRewrite::new(rewrite, &template).unwrap();
            let written = rewrite.apply(&template, path.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expected);
            assert_eq!(rewrite.apply(&template, b"/elsewhere"), None);
        }
        let template = PathTemplate::new("/a/{x}").unwrap();
        for wrong in ["/{y}", "no", "/{x", "/x}", "/{x}/a b", "/{}", "/?q", "/a//b"] {
            assert!(PathRewrite::new(wrong, &template).is_err(), "{wrong}");
        }
    }
}
