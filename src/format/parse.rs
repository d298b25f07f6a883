//! Owns reading `%OPERATOR(parameters):length%`.

use super::{
    Piece,
    operators::{Kind, LACKING, OPERATORS, Operator, Params},
};

/// Why a format is refused, in Envoy's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` that begins no operator.
    #[error("Incorrect configuration: {text}. Couldn't find valid command at position {position}")]
    NoCommand {
        /// The whole format.
        text: String,
        /// In bytes.
        position: usize,
    },
    /// There is no such operator.
    #[error("Not supported field in StreamInfo: {name}")]
    Unknown {
        /// As written.
        name: String,
    },
    /// It cannot do without.
    #[error("{name} requires parameters")]
    NeedsParameters {
        /// The operator.
        name: &'static str,
    },
    /// It takes neither.
    #[error("{name} does not take any parameters or length")]
    NeedsNothing {
        /// The operator.
        name: &'static str,
    },
    /// It cannot be cut.
    #[error("{name} does not allow length to be specified.")]
    NoLength {
        /// The operator.
        name: &'static str,
    },
    /// Its parameters say nothing to it.
    #[error("{text}")]
    Parameters {
        /// What is wrong.
        text: String,
    },
    /// Envoy knows it; we do not yet.
    #[error("%{name}%")]
    Lacking {
        /// The operator.
        name: &'static str,
    },
}

// === impl FormatError ===

impl FormatError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCommand { .. } => {
                "an operator is in capitals, as in %REQ(x-name):10%; a percent sign is %%"
                    .to_owned()
            }
            Self::Unknown { name } => {
                let near = |kind: &&Kind| strsim::damerau_levenshtein(kind.name, name);
                let nearest = OPERATORS.iter().min_by_key(|kind| near(kind));
                match nearest.filter(|kind| near(kind) <= name.len() / 3) {
                    Some(kind) => format!("did you mean %{}%?", kind.name),
                    None => "see the list of operators in Envoy's access log documents".to_owned(),
                }
            }
            Self::NeedsParameters { name } => format!("write %{name}(…)%"),
            Self::NeedsNothing { name } | Self::NoLength { name } => format!("write %{name}%"),
            Self::Parameters { .. } | Self::Lacking { .. } => String::new(),
        }
    }
}

/// Reads a format.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, FormatError> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(percent) = rest.find('%') else {
            plain.push_str(rest);
            break;
        };
        plain.push_str(&rest[..percent]);
        at += percent;
        if rest[percent..].starts_with("%%") {
            plain.push('%');
            at += 2;
            continue;
        }
        let Some(command) = Command::read(&rest[percent..]) else {
            return Err(FormatError::NoCommand { text: text.to_owned(), position: at });
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain).into_bytes().into()));
        }
        at += command.length;
        pieces.push(Piece::Operator(operator(command.name, command.params, command.max)?));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into_bytes().into()));
    }
    Ok(pieces)
}

/// An operator by what was written of it.
pub(super) fn operator(
    name: &str,
    params: &str,
    max: Option<usize>,
) -> Result<Operator, FormatError> {
    let Some(kind) = OPERATORS.iter().find(|kind| kind.name == name) else {
        return Err(match LACKING.iter().find(|lacking| **lacking == name) {
            Some(name) => FormatError::Lacking { name },
            None => FormatError::Unknown { name: name.to_owned() },
        });
    };
    let name = kind.name;
    match kind.params {
        Params::None if !params.is_empty() || max.is_some() => {
            Err(FormatError::NeedsNothing { name })
        }
        Params::Required if params.is_empty() => Err(FormatError::NeedsParameters { name }),
        _ if max.is_some() && !kind.length => Err(FormatError::NoLength { name }),
        _ => Operator::new(kind, params, max),
    }
}

/// `%NAME(params):max%`
struct Command<'t> {
    name: &'t str,
    params: &'t str,
    max: Option<usize>,
    /// Of all of it, in bytes.
    length: usize,
}

// === impl Command ===

impl<'t> Command<'t> {
    /// Reads the command that `text` begins with. Parameters end at the first bracket behind which a command
    /// can end, and stand on one line.
    fn read(text: &'t str) -> Option<Self> {
        let body = text.strip_prefix('%')?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let name = &body[..body.find(|c| !is_name(c))?];
        if name.is_empty() {
            return None;
        }
        let rest = &body[name.len()..];
        let done = |params: &'t str, end: &'t str| {
            let (max, end) = ending(end)?;
            Some(Self { name, params, max, length: text.len() - end.len() })
        };
        let Some(inner) = rest.strip_prefix('(') else { return done("", rest) };
        let line = inner.split('\n').next()?;
        line.match_indices(')').find_map(|(at, _)| done(&inner[..at], &inner[at + 1..]))
    }
}

/// `:max%` or `%`, and what follows.
fn ending(text: &str) -> Option<(Option<usize>, &str)> {
    let Some(length) = text.strip_prefix(':') else { return Some((None, text.strip_prefix('%')?)) };
    let digits = length.find(|c: char| !c.is_ascii_digit())?;
    let max = length[..digits].parse().ok()?;
    Some((Some(max), length[digits..].strip_prefix('%')?))
}
