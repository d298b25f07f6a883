//! Owns sets of code points: RE2's classes, their case folding, and the bytes that they match.

use std::fmt::Write;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// The first and the last code point of some.
type Range = (u32, u32);

const RUNE_MAX: u32 = 0x0010_FFFF;
const SURROGATES: Range = (0xD800, 0xDFFF);

/// A set of code points, surrogates among them: RE2 has them, and Rust's `char` does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runes {
    /// First and last of each range; sorted, none touches the next.
    ranges: Vec<Range>,
}

/// What RE2 takes for everything that is not ASCII.
const BEYOND_ASCII: &str =
    r"[\xC2-\xDF][\x80-\xBF]|[\xE0-\xEF][\x80-\xBF]{2}|[\xF0-\xF4][\x80-\xBF]{3}";

/// A class without a character.
const NOTHING: &str = "[a&&b]";

/// `[:name:]`, and its characters.
const POSIX: [(&str, &[Range]); 14] = [
    ("alnum", &[(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)]),
    ("alpha", &[(0x41, 0x5A), (0x61, 0x7A)]),
    ("ascii", &[(0x00, 0x7F)]),
    ("blank", &[(0x09, 0x09), (0x20, 0x20)]),
    ("cntrl", &[(0x00, 0x1F), (0x7F, 0x7F)]),
    ("digit", &[(0x30, 0x39)]),
    ("graph", &[(0x21, 0x7E)]),
    ("lower", &[(0x61, 0x7A)]),
    ("print", &[(0x20, 0x7E)]),
    ("punct", &[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)]),
    ("space", &[(0x09, 0x0D), (0x20, 0x20)]),
    ("upper", &[(0x41, 0x5A)]),
    ("word", &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]),
    ("xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];

/// The general categories that RE2 knows: all but `Cn`, what is not assigned.
const CATEGORIES: &str = "C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po \
    Ps S Sc Sk Sm So Z Zl Zp Zs";

/// The scripts that RE2 knows, spelled as it wants them.
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak \
    Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian \
    Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot \
    Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs \
    Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic \
    Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana \
    Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu \
    Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen \
    Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs \
    Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa \
    Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian \
    Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage \
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang \
    Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian \
    Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham \
    Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto \
    Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// The categories of which a group's name is made.
const NAME_CATEGORIES: [&str; 10] = ["Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Nd", "Pc"];

// === impl Runes ===

impl Runes {
    pub(super) fn of(ranges: &[Range]) -> Self {
        let mut runes = Self::default();
        ranges.iter().for_each(|range| runes.add(*range));
        runes
    }

    pub(super) fn all() -> Self {
        Self::of(&[(0, RUNE_MAX)])
    }

    /// `\d`, `\s` or `\w` by its letter: of ASCII.
    pub(super) fn perl(letter: u8) -> Option<Self> {
        match letter {
            b'd' => Self::posix("digit"),
            b's' => Some(Self::of(&[(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)])),
            b'w' => Self::posix("word"),
            _ => None,
        }
    }

    /// `[:name:]` by its name.
    pub(super) fn posix(name: &str) -> Option<Self> {
        let found = POSIX.iter().find(|(known, _)| *known == name);
        found.map(|(_, ranges)| Self::of(ranges))
    }

    /// `\p{name}` by its name, which RE2 wants exact.
    pub(super) fn unicode(name: &str) -> Option<Self> {
        match name {
            "Any" => Some(Self::all()),
            "Cs" => Some(Self::of(&[SURROGATES])),
            "C" => {
                let parts = ["Cc", "Cf", "Co", "Cs"].iter().filter_map(|part| Self::unicode(part));
                Some(parts.fold(Self::default(), Self::and))
            }
            _ if CATEGORIES.split(' ').any(|known| known == name) => Self::property("gc", name),
            _ if SCRIPTS.split(' ').any(|known| known == name) => Self::property("sc", name),
            _ => None,
        }
    }

    /// Whether a group may be called so.
    pub(super) fn are_a_name(name: &str) -> bool {
        let in_ascii = |rune: char| rune.is_ascii_alphanumeric() || rune == '_';
        if name.chars().all(in_ascii) {
            return !name.is_empty();
        }
        let parts = NAME_CATEGORIES.iter().filter_map(|part| Self::unicode(part));
        let known = parts.fold(Self::default(), Self::and);
        name.chars().all(|rune| known.has(rune.into()))
    }

    fn property(kind: &str, name: &str) -> Option<Self> {
        let hir = regex_syntax::parse(&format!(r"\p{{{kind}={name}}}")).ok()?;
        match hir.kind() {
            HirKind::Class(Class::Unicode(class)) => Some(Self::from_class(class)),
            // A class of one.
            HirKind::Literal(literal) => {
                let rune = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
                Some(Self::of(&[(rune.into(), rune.into())]))
            }
            _ => None,
        }
    }

    /// Adds a range.
    pub(super) fn add(&mut self, (first, last): Range) {
        // From the first range that touches it to the last.
        let from = self.ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = &self.ranges[from..to.max(from)];
        let first = touched.first().map_or(first, |(start, _)| first.min(*start));
        let last = touched.last().map_or(last, |(_, end)| last.max(*end));
        self.ranges.splice(from..to.max(from), [(first, last)]);
    }

    /// Both sets in one.
    pub(super) fn and(mut self, others: Self) -> Self {
        if self.ranges.is_empty() {
            return others;
        }
        others.ranges.into_iter().for_each(|range| self.add(range));
        self
    }

    /// All others.
    pub(super) fn negated(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = 0;
        for (first, last) in &self.ranges {
            if next < *first {
                ranges.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= RUNE_MAX {
            ranges.push((next, RUNE_MAX));
        }
        Self { ranges }
    }

    /// With what is the same but for its case, by Unicode's simple folding: `k` is `K` is `K`.
    pub(super) fn folded(self) -> Self {
        let mut class = self.to_class();
        class.case_fold_simple();
        Self::from_class(&class).and(self.surrogates())
    }

    pub(super) fn has(&self, rune: u32) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&rune))
    }

    /// The one that is in it, when it is alone.
    pub(super) fn only(&self) -> Option<u32> {
        match self.ranges.as_slice() {
            [(first, last)] if first == last => Some(*first),
            _ => None,
        }
    }

    /// An atom that matches the bytes of any of them.
    ///
    /// RE2 encodes a surrogate like any other code point, and whoever takes all that is not ASCII
    /// takes overlong encodings and some bytes beyond the last code point too.
    pub(super) fn pattern(&self) -> String {
        let (ascii, others) = self.split();
        let mut parts = Vec::new();
        if !ascii.is_empty() {
            parts.push(bracket(&ascii, |rune| format!(r"\x{rune:02X}")));
        }
        match others.as_slice() {
            [] => {}
            [(0x80, RUNE_MAX)] => parts.push(BEYOND_ASCII.to_owned()),
            some => {
                let some = Self { ranges: some.to_vec() };
                let class = Self::from_class(&some.to_class()).ranges;
                if !class.is_empty() {
                    let class = bracket(&class, |rune| format!(r"\x{{{rune:X}}}"));
                    parts.push(format!("(?u:{class})"));
                }
                parts.extend(some.surrogates().rows());
            }
        }
        match parts.as_slice() {
            [] => NOTHING.to_owned(),
            [one] if others.is_empty() => one.clone(),
            parts => format!("(?:{})", parts.join("|")),
        }
    }

    /// An atom that matches any of them that is a byte in Latin-1.
    pub(super) fn pattern_of_bytes(&self) -> String {
        let bytes = self.ranges.iter().filter(|(first, _)| *first <= 0xFF);
        let bytes: Vec<Range> = bytes.map(|(first, last)| (*first, (*last).min(0xFF))).collect();
        match bytes.is_empty() {
            true => NOTHING.to_owned(),
            false => bracket(&bytes, |byte| format!(r"\x{byte:02X}")),
        }
    }

    /// About how many instructions RE2 makes of it. Measured with RE2's own limit: an alternative
    /// for each range, of two bytes each when it is not of ASCII.
    pub(super) fn instructions(&self) -> u64 {
        let (ascii, others) = self.split();
        // Two cases of a letter are one instruction.
        let upper = |(first, last): &&Range| (0x41..=0x5A).contains(first) && *last <= 0x5A;
        let folds = ascii
            .iter()
            .filter(upper)
            .all(|(first, last)| ascii.contains(&(first + 0x20, last + 0x20)));
        let ascii = match folds {
            true => ascii.len() - ascii.iter().filter(upper).count(),
            false => ascii.len(),
        };
        let others = match others.as_slice() {
            [(0x80, RUNE_MAX)] => 9,
            others => others.len() * 3,
        };
        ((ascii * 2 + others).max(2) - 1) as u64
    }

    fn from_class(class: &ClassUnicode) -> Self {
        let ranges = class.iter().map(|range| (range.start().into(), range.end().into()));
        let mut runes = Self::default();
        ranges.for_each(|range| runes.add(range));
        runes
    }

    /// Without the surrogates.
    fn to_class(&self) -> ClassUnicode {
        let mut ranges = Vec::new();
        for (first, last) in &self.ranges {
            for (first, last) in
                [(*first, (*last).min(SURROGATES.0 - 1)), ((*first).max(SURROGATES.1 + 1), *last)]
            {
                if let (Some(first), Some(last)) = (char::from_u32(first), char::from_u32(last))
                    && first <= last
                {
                    ranges.push(ClassUnicodeRange::new(first, last));
                }
            }
        }
        ClassUnicode::new(ranges)
    }

    /// What is ASCII, and what is not.
    fn split(&self) -> (Vec<Range>, Vec<Range>) {
        let ascii = self.ranges.iter().filter(|(first, _)| *first < 0x80);
        let others = self.ranges.iter().filter(|(_, last)| *last >= 0x80);
        (
            ascii.map(|(first, last)| (*first, (*last).min(0x7F))).collect(),
            others.map(|(first, last)| ((*first).max(0x80), *last)).collect(),
        )
    }

    /// Surrogates as bytes, those together that differ in the last byte alone.
    fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for (first, last) in &self.ranges {
            for row in first >> 6..=last >> 6 {
                let (start, end) = ((*first).max(row << 6), (*last).min((row << 6) | 0x3F));
                let byte = |rune: u32| 0x80 | (rune & 0x3F);
                let (second, start, end) = (byte(row), byte(start), byte(end));
                rows.push(format!(r"\xED\x{second:02X}[\x{start:02X}-\x{end:02X}]"));
            }
        }
        rows
    }

    fn surrogates(&self) -> Self {
        let inside = |(first, last): &Range| {
            let range = ((*first).max(SURROGATES.0), (*last).min(SURROGATES.1));
            (range.0 <= range.1).then_some(range)
        };
        Self { ranges: self.ranges.iter().filter_map(inside).collect() }
    }
}

fn bracket(ranges: &[Range], written: impl Fn(u32) -> String) -> String {
    let mut out = String::from("[");
    for (first, last) in ranges {
        _ = match first == last {
            true => write!(out, "{}", written(*first)),
            false => write!(out, "{}-{}", written(*first), written(*last)),
        };
    }
    out.push(']');
    out
}
