use proptest::prelude::*;

use super::*;

/// What RE2 says of an expression. Observed: Envoy 1.40, `/stats?filter=`.
#[test]
fn a_mistake_is_told_in_the_words_of_re2() {
    for (expression, expected) in [
        ("(", "missing ): ("),
        ("x(a", "missing ): x(a"),
        ("(?i:", "missing ): (?i:"),
        ("a)", "unexpected ): a)"),
        ("a)b(", "unexpected ): a)b("),
        ("x[a", "missing ]: [a"),
        ("[]", "missing ]: []"),
        ("[[:word:", "missing ]: [[:word:"),
        ("a\\", "trailing \\"),
        ("[a\\", "trailing \\"),
        ("*a", "no argument for repetition operator: *"),
        ("a|*", "no argument for repetition operator: *"),
        ("(?i)+?", "no argument for repetition operator: +?"),
        ("{1}", "no argument for repetition operator: {1}"),
        (r"\Q\E*", "no argument for repetition operator: *"),
        ("a**", "bad repetition operator: **"),
        ("a*+", "bad repetition operator: *+"),
        (".{2}{3}", "bad repetition operator: {2}{3}"),
        ("a{2}?*", "bad repetition operator: {2}?*"),
        ("x{1000}{1000}", "bad repetition operator: {1000}{1000}"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("a{2,1}?", "invalid repetition size: {2,1}?"),
        ("a{999999999}", "invalid repetition size: {999999999}"),
        ("(a{500}){500}", "invalid repetition size: {500}"),
        ("(?:(?:x{10}){10}y*){11}", "invalid repetition size: {11}"),
        ("(?x) server", "invalid perl operator: (?x"),
        ("(?R)", "invalid perl operator: (?R"),
        ("(?-u)a", "invalid perl operator: (?-u"),
        ("(?i-)", "invalid perl operator: (?i-)"),
        ("(?i--m)", "invalid perl operator: (?i--"),
        ("(?i", "invalid perl operator: (?i"),
        ("(?=a)", "invalid perl operator: (?="),
        ("(?<!a)", "invalid perl operator: (?<!"),
        ("(?#a)", "invalid perl operator: (?#"),
        ("(?P=n)", "invalid perl operator: (?P"),
        ("(?P<n", "invalid named capture group: (?P<n"),
        ("(?<a-b>x)", "invalid named capture group: (?<a-b>"),
        ("(?P<>x)", "invalid named capture group: (?P<>"),
        ("a\\q", r"invalid escape sequence: \q"),
        ("\\1", r"invalid escape sequence: \1"),
        (r"\u0041", r"invalid escape sequence: \u"),
        (r"\Z", r"invalid escape sequence: \Z"),
        (r"\é", r"invalid escape sequence: \é"),
        (r"\x4", r"invalid escape sequence: \x4"),
        (r"\x{110000}", r"invalid escape sequence: \x{110000"),
        (r"\x{}", r"invalid escape sequence: \x{}"),
        (r"\x{", "invalid UTF-8"),
        (r"[a-\d]", r"invalid escape sequence: \d"),
        (r"[\Qa]", r"invalid escape sequence: \Q"),
        (r"[\p", r"invalid escape sequence: \p"),
        ("[z-a]", "invalid character class range: z-a"),
        ("[a--b]", "invalid character class range: a--"),
        ("[[:foo:]]", "invalid character class range: [:foo:]"),
        (r"\p{Nosuch}", r"invalid character class range: \p{Nosuch}"),
        (r"\p{greek}", r"invalid character class range: \p{greek}"),
        (r"\p{Cn}", r"invalid character class range: \p{Cn}"),
        (r"\p{L", r"invalid character class range: \p{L"),
        (r"\p", r"invalid character class range: \p"),
        (r"\pL{1000}", "pattern too large - compile failed"),
    ] {
        let said = compile(expression, Extent::Part).map_err(|why| why.to_string());
        assert_eq!(said.map(drop), Err(expected.to_owned()), "{expression}");
    }
}

/// Each expression, a text of which it takes the whole, and one of which it takes no part.
#[test]
fn what_re2_accepts_means_what_it_means_there() {
    let table: &[(&str, &[u8], &[u8])] = &[
        (r"\C", b"\xFF", b""),
        (r"a\C\z", b"a\xE9", "aé".as_bytes()),
        (r"\Q(a*\E+", b"(a**", b"(a"),
        (r"\p{^Lu}", b"a", b"A"),
        (r"\P{^Lu}", b"A", b"a"),
        (r"\pN", "٣".as_bytes(), b"a"),
        (r"\p{Cs}", b"\xED\xA0\x80", b"a"),
        ("a{,3}", b"a{,3}", b"aa"),
        ("a{01}", b"a{01}", b"a"),
        ("a{99999999999}", b"a{99999999999}", b"a"),
        ("a{", b"a{", b"a"),
        (r"\0\012\1013", b"\0\nA3", b"\0\n1013"),
        (r"(?P<1a>x)(?P<1a>y)", b"xy", b"x"),
        (r"(?<é>x)", b"x", b""),
        (r"a\<b\>", b"a<b>", b"ab"),
        ("[a&&b]", b"&", b"-"),
        ("[[a]]", b"[]", b"[a"),
        ("[[.a.]]", b".]", b"a"),
        ("[]a]", b"]", b"b"),
        ("[a-z-9]", b"-", b"8"),
        (r"\d+", b"12", "٣".as_bytes()),
        (r"^\D$", "٣".as_bytes(), b"\xD9"),
        (r"^\S$", "é".as_bytes(), b"\t"),
        (r"\S\s", b"\x0B ", b"\x0B"),
        (r"[[:space:]]", b"\x0B", b"a"),
        ("[[:^alpha:]]", "é".as_bytes(), b"a"),
        (r"é\b.", "éa".as_bytes(), "éé".as_bytes()),
        ("(?i)k", "\u{212A}".as_bytes(), b"j"),
        (r"(?i)\w", "ſ".as_bytes(), "é".as_bytes()),
        (r"(?i)^\W$", "é".as_bytes(), "ſ".as_bytes()),
        ("(?i:a)b", b"Ab", b"AB"),
        ("a(?i)b|c", b"C", b"AB"),
        ("^.$", "é".as_bytes(), b"\n"),
        ("^.$", b"\xF4\xBF\xBF\xBF", b"\xFF"),
        ("(?s)^.$", b"\n", b"\xFF"),
        ("a$", b"a", b"a\n"),
        ("(?U)a*", b"aa", b"-"),
        ("a*(?i)*(?:a+)+", b"aaa", b""),
        (r"\x{d800}", b"\xED\xA0\x80", "\u{FFFD}".as_bytes()),
        (r"(?:a{0}){1000}b", b"b", b"a"),
    ];
    for (expression, taken, refused) in table {
        let built = compile(&format!(r"\A(?:{expression})\z"), Extent::Part).unwrap();
        assert!(built.is_match(taken), "{expression} takes {taken:?}");
        assert!(!built.is_match(refused), "{expression} refuses {refused:?}");
    }
    let lines = compile("(?m)^a$", Extent::Part).unwrap();
    assert!(lines.is_match(b"b\na\nb") && !lines.is_match(b"ba"));
    let none = compile(r"[^\x00-\x{10FFFF}]", Extent::Part).unwrap();
    assert!(!none.is_match(b"a"));
}

/// Observed: Envoy 1.40, `safe_regex` of a path and of a header.
#[test]
fn in_latin_1_a_byte_is_a_character() {
    for (expression, expected) in [
        (r"\x{100}", r"invalid escape sequence: \x{100"),
        (r"\777", r"invalid escape sequence: \777"),
        (r"\é", "invalid escape sequence: \\\u{C3}"),
        ("(é", "missing ): (é"),
    ] {
        let said = compile(expression, Extent::Whole).map_err(|why| why.to_string());
        assert_eq!(said.map(drop), Err(expected.to_owned()), "{expression}");
    }
    let table: &[(&str, &[u8], &[u8])] = &[
        ("a.", b"a\xFF", "aé".as_bytes()),
        ("b..", "bé".as_bytes(), b"b\xFF"),
        ("c[^a]", b"c\xFF", "cé".as_bytes()),
        (r"\W", b"\xFF", "é".as_bytes()),
        ("é", "é".as_bytes(), b"\xE9"),
        ("[é]", b"\xA9", "é".as_bytes()),
        ("(?i)é", b"\xE3\xA9", "É".as_bytes()),
        (r"\pL", b"\xE9", "é".as_bytes()),
        (r"\xe9", b"\xE9", "é".as_bytes()),
        ("(?i)k", b"K", "\u{212A}".as_bytes()),
        (r"\Q(a\", b"(a\\", b"(a"),
    ];
    for (expression, taken, refused) in table {
        let built = compile(expression, Extent::Whole).unwrap();
        assert!(built.is_match(taken), "{expression} takes {taken:?}");
        assert!(!built.is_match(refused), "{expression} refuses {refused:?}");
    }
    assert!(!compile(r"\p{Greek}", Extent::Whole).unwrap().is_match("α".as_bytes()));
}

#[test]
fn a_part_is_enough_for_a_filter_and_the_whole_is_wanted_of_a_path() {
    for (expression, text, part, whole) in [
        ("b", "abc", true, false),
        ("abc|b", "abc", true, true),
        ("b|abc", "abc", true, true),
        ("^b", "ab", false, false),
        ("", "a", true, false),
    ] {
        for (extent, expected) in [(Extent::Part, part), (Extent::Whole, whole)] {
            let built = compile(expression, extent).unwrap();
            assert_eq!(built.is_match(text.as_bytes()), expected, "{expression} {extent:?}");
        }
    }
}

#[test]
fn what_is_deep_or_long_has_a_limit_and_what_is_within_it_compiles() {
    let nested = |depth: usize| format!("{}a{}", "(a|".repeat(depth), ")*".repeat(depth));
    for (expression, expected) in [
        ("(".repeat(900) + &")".repeat(900), None),
        ("(".repeat(1001) + &")".repeat(1001), Some(Re2Error::TooLarge)),
        (nested(100), None),
        (nested(900), Some(Re2Error::TooLarge)),
        ("a".repeat(700_000), Some(Re2Error::TooLarge)),
        ("(?:abcdefghij){1000}".to_owned(), None),
        ((0..10_000).map(|n| format!("abc{n}")).collect::<Vec<_>>().join("|"), None),
    ] {
        let said = compile(&expression, Extent::Part).err();
        assert_eq!(said, expected, "{} bytes", expression.len());
    }
}

proptest! {
    #[test]
    fn every_expression_is_refused_or_compiles(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "k", "é", ".", "^", "$", "(", "(?:", "(?i)", "(?s-m:", "(?P<n>", ")", "|", "*",
                "+?", "{2}", "{,3}", "{1,3}", "{", "[", "[^", "]", "-", "&&", "[:alpha:]", "\\",
                "\\d", "\\W", "\\pL", "\\p{^Greek}", "\\Q", "\\E", "\\C", "\\x{", "\\x41", "\\012",
                "\\b", "}", "0", ":", "?",
            ]),
            0..12,
        ),
        text in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let expression = parts.concat();
        for extent in [Extent::Whole, Extent::Part] {
            match compile(&expression, extent) {
                Ok(built) => _ = built.is_match(&text),
                // So few parts are never too large: all else that was accepted compiled.
                Err(why) => prop_assert_ne!(why, Re2Error::TooLarge),
            }
        }
    }

    #[test]
    fn no_text_panics_and_quoted_it_matches_itself(text in any::<String>()) {
        let _ = compile(&text, Extent::Part);
        if !text.contains("\\E") && !text.ends_with('\\') {
            for extent in [Extent::Whole, Extent::Part] {
                let quoted = compile(&format!("\\Q{text}\\E"), extent).unwrap();
                prop_assert!(quoted.is_match(text.as_bytes()));
            }
        }
    }
}
