//! Owns the published runtime: layers of key and value, the last layer wins.

use std::collections::BTreeMap;

/// A value, typed as Envoy types it when the layer is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeValue {
    /// As it was written; what `/runtime` prints.
    pub text: String,
    /// The number in it, if it is one.
    pub number: Option<f64>,
    /// The boolean in it, if it is one.
    pub boolean: Option<bool>,
    /// The share in it, if it is one: `{numerator: 5, denominator: TEN_THOUSAND}`.
    pub share: Option<Share>,
}

/// `envoy.type.v3.FractionalPercent`: so many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// `numerator`
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

/// One layer, first to last.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeLayer {
    /// `RuntimeLayer.name`.
    pub name: String,
    /// Whether `/runtime_modify` writes here.
    pub admin: bool,
    /// Flattened keys (`a.b`) and their values.
    pub entries: BTreeMap<String, RuntimeValue>,
}

/// The snapshot that requests read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// All layers, lowest first.
    pub layers: Vec<RuntimeLayer>,
    merged: BTreeMap<String, RuntimeValue>,
}

// === impl RuntimeValue ===

impl RuntimeValue {
    /// Types a text as Envoy does: it may hold a number (`010` is 8, `0x10` is 16), a boolean (every number
    /// is one), or a share that says numerator and denominator.
    ///
    /// Observed: Envoy 1.40, what routes, limits and flags do with `/runtime_modify?key=TEXT`.
    pub fn parse(text: &str) -> Self {
        Self { share: Share::parse(text.trim()), ..Self::of_text(text) }
    }

    /// The same without looking for a share: a text of `static_layer` holds none.
    pub fn of_text(text: &str) -> Self {
        let number = number(text.trim());
        let boolean = number.map(|number| number != 0.0).or_else(|| boolean(text.trim()));
        Self { text: text.to_owned(), number, boolean, share: None }
    }

    /// A share that stands as such in `static_layer`.
    pub fn of_share(text: String, share: Option<Share>) -> Self {
        Self { text, number: None, boolean: None, share }
    }

    /// The whole number in it, rounded down; none for a negative one, nor for one far too large.
    pub fn whole(&self) -> Option<u64> {
        let range = 0.0..=u64::MAX as f64;
        self.number.filter(|number| range.contains(number)).map(|number| number as u64)
    }
}

/// A number as YAML writes them, or with a fraction.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => Some((16, digits.get(2..)?)),
        [b'0', rest @ ..] if !rest.is_empty() && rest.iter().all(u8::is_ascii_digit) => {
            Some((8, digits.get(1..)?))
        }
        _ => None,
    };
    let number = match radix.and_then(|(radix, digits)| u64::from_str_radix(digits, radix).ok()) {
        Some(whole) if text.starts_with('-') => -(whole as f64),
        Some(whole) => whole as f64,
        None => text.parse().ok()?,
    };
    number.is_finite().then_some(number)
}

fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

// === impl Share ===

impl Share {
    /// Denominators by the names and numbers of `FractionalPercent.DenominatorType`.
    const DENOMINATORS: [(&str, &str, u32); 3] =
        [("HUNDRED", "0", 100), ("TEN_THOUSAND", "1", 10_000), ("MILLION", "2", 1_000_000)];

    /// Whether `random` falls into it.
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }

    /// The denominator called so.
    pub fn denominator(name: &str) -> Option<u32> {
        let known =
            Self::DENOMINATORS.iter().find(|(word, number, _)| [*word, *number].contains(&name));
        known.map(|(_, _, denominator)| *denominator)
    }

    /// Reads `{"numerator": 5, "denominator": "MILLION"}`, in JSON or in YAML's block or flow style.
    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let mut share = Self { numerator: 0, denominator: 100 };
        let pairs = inner.unwrap_or(text).split([',', '\n']);
        let mut seen = 0;
        for pair in pairs.filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once(':')?;
            let (name, bare) = (name.trim(), name.trim().trim_matches('"'));
            // Without quotes a key of YAML's ends in a colon and a blank.
            if name == bare && !value.starts_with([' ', '\t']) {
                return None;
            }
            match bare {
                "numerator" => share.numerator = Self::numerator(value.trim().parse().ok()?),
                "denominator" => {
                    share.denominator = Self::denominator(value.trim().trim_matches('"'))?
                }
                _ => return None,
            }
            seen += 1;
        }
        (seen > 0).then_some(share)
    }

    /// A numerator below zero is a huge one. Observed: Envoy 1.40.
    pub fn numerator(number: i64) -> u32 {
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

// === impl Runtime ===

impl Runtime {
    /// Merges layers into a snapshot.
    pub fn new(layers: Vec<RuntimeLayer>) -> Self {
        let mut merged = BTreeMap::new();
        for layer in &layers {
            merged.extend(layer.entries.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Self { layers, merged }
    }

    /// The value in force for `key`.
    pub fn get(&self, key: &str) -> Option<&RuntimeValue> {
        self.merged.get(key)
    }

    /// All keys and the values in force, sorted by key.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &RuntimeValue)> {
        self.merged.iter()
    }

    /// A number, or `default` where the key is absent or no number (Envoy's `getInteger`).
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        self.get(key).and_then(RuntimeValue::whole).unwrap_or(default)
    }

    /// A boolean, or `default` where the key is absent or none (Envoy's `getBoolean`).
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(|value| value.boolean).unwrap_or(default)
    }

    /// Whether `random` falls into the share that `key` sets, or into `default`: Envoy's `featureEnabled`. A
    /// whole number counts as percent; more than 100 is always.
    pub fn enabled(&self, key: &str, default: Share, random: u64) -> bool {
        let value = if key.is_empty() { None } else { self.get(key) };
        let percent = |whole: u64| Share {
            numerator: u32::try_from(whole.min(100)).unwrap_or(100),
            denominator: 100,
        };
        let share = value.and_then(|value| value.share.or_else(|| value.whole().map(percent)));
        share.unwrap_or(default).takes(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_as_envoy_types_them() {
        let share = |numerator, denominator| Some(Share { numerator, denominator });
        for (text, number, boolean, fraction) in [
            ("7", Some(7.0), Some(true), None),
            (" 7 ", Some(7.0), Some(true), None),
            ("1e3", Some(1000.0), Some(true), None),
            ("-0.5", Some(-0.5), Some(true), None),
            ("010", Some(8.0), Some(true), None),
            ("-0x10", Some(-16.0), Some(true), None),
            ("0.0", Some(0.0), Some(false), None),
            ("TRUE", None, Some(true), None),
            ("no", None, Some(false), None),
            ("09", Some(9.0), Some(true), None),
            ("hello", None, None, None),
            ("", None, None, None),
            ("{\"numerator\": 5, \"denominator\":\"TEN_THOUSAND\"}", None, None, share(5, 10_000)),
            ("numerator: 25\ndenominator: MILLION\n", None, None, share(25, 1_000_000)),
            ("{numerator: 3}", None, None, share(3, 100)),
            ("{numerator: x}", None, None, None),
            ("{a: 3}", None, None, None),
            ("{numerator:3}", None, None, None),
            ("{numerator: -3}", None, None, share(u32::MAX, 100)),
        ] {
            let value = RuntimeValue::parse(text);
            assert_eq!(
                (value.number, value.boolean, value.share),
                (number, boolean, fraction),
                "{text}"
            );
            assert_eq!(value.text, text);
        }
    }

    #[test]
    fn a_share_is_a_number_of_percent_or_says_what_of() {
        let entries =
            [("some", "30"), ("all", "101"), ("fine", "{numerator: 5, denominator: MILLION}")];
        let entries = entries.map(|(key, text)| (key.to_owned(), RuntimeValue::parse(text)));
        let layer = RuntimeLayer { name: "a".to_owned(), admin: false, entries: entries.into() };
        let runtime = Runtime::new(vec![layer]);
        let none = Share { numerator: 0, denominator: 100 };
        for (key, random, enabled) in [
            ("some", 29, true),
            ("some", 130, false),
            ("all", 99, true),
            ("fine", 4, true),
            ("fine", 5, false),
            ("nosuch", 0, false),
            ("", 0, false),
        ] {
            assert_eq!(runtime.enabled(key, none, random), enabled, "{key} {random}");
        }
    }
}
