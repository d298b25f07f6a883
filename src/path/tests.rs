//! Owns the tests of paths. What is expected was observed on Envoy 1.40.

use proptest::prelude::*;

use super::*;

const PLAIN: Rules =
    Rules { escaped_slashes: EscapedSlashes::Keep, normalize: false, merge_slashes: false };
const NORMAL: Rules = Rules { normalize: true, ..PLAIN };
const MERGED: Rules = Rules { merge_slashes: true, ..PLAIN };
const BOTH: Rules = Rules { normalize: true, merge_slashes: true, ..PLAIN };

fn shown(target: &str, rules: &Rules) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match apply(target.as_bytes(), rules) {
        Outcome::Target(target) => text(&target),
        Outcome::Redirect(target) => format!("-> {}", text(&target)),
        Outcome::Refused => "refused".to_owned(),
    }
}

#[test]
fn a_path_has_one_form() {
    for (target, normal, merged, both) in [
        ("/", "/", "/", "/"),
        ("/.", "/", "/.", "/"),
        ("/..", "/", "/..", "/"),
        ("/a/..", "/", "/a/..", "/"),
        ("/a/b/..", "/a/", "/a/b/..", "/a/"),
        ("/a//..", "/a/", "/a/..", "/a/"),
        ("//..", "/", "/..", "/"),
        ("/a//../b", "/a/b", "/a/../b", "/a/b"),
        ("/a/%2e", "/a/", "/a/%2e", "/a/"),
        ("/a/%2E%2e", "/", "/a/%2E%2e", "/"),
        ("/a/.%2e/b", "/b", "/a/.%2e/b", "/b"),
        ("/a/...", "/a/...", "/a/...", "/a/..."),
        ("/a/..b", "/a/..b", "/a/..b", "/a/..b"),
        ("/a/%2e%2e%2f", "/a/..%2f", "/a/%2e%2e%2f", "/a/..%2f"),
        (r"/a\..\b", "/b", r"/a\..\b", "/b"),
        (r"/a\\b", "/a//b", r"/a\\b", "/a/b"),
        ("/a%5c..%5Cb", "/a%5c..%5Cb", "/a%5c..%5Cb", "/a%5c..%5Cb"),
        ("/%25%32e", "/%252e", "/%25%32e", "/%252e"),
        ("/a%4", "/a%4", "/a%4", "/a%4"),
        ("/a%zz%", "/a%zz%", "/a%zz%", "/a%zz%"),
        ("/%41%7A%2d%7e", "/Az-~", "/%41%7A%2d%7e", "/Az-~"),
        ("/%20%7f%c3%a9%FF", "/%20%7f%c3%a9%FF", "/%20%7f%c3%a9%FF", "/%20%7f%c3%a9%FF"),
        ("/a;b/../c", "/c", "/a;b/../c", "/c"),
        ("///", "///", "//", "//"),
        ("/.//", "//", "/./", "//"),
        ("/..//", "//", "/../", "//"),
        ("/a/..//b", "//b", "/a/../b", "/b"),
        ("/a?b/../c\\%41//", "/a?b/../c\\%41//", "/a?b/../c\\%41//", "/a?b/../c\\%41//"),
        ("//a///b//?//", "//a///b//?//", "/a/b/?//", "/a/b/?//"),
        ("/%2f/..", "/", "/%2f/..", "/"),
        ("/%2f..", "/%2f..", "/%2f..", "/%2f.."),
        ("/%00", "refused", "/%00", "refused"),
        ("/'()*;@=!$&,+:[]", "/'()*;@=!$&,+:[]", "/'()*;@=!$&,+:[]", "/'()*;@=!$&,+:[]"),
        ("/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D", "/\"<>^`{|}", "/%22%3C%3E%5E%60%7B%7C%7D"),
    ] {
        let seen = [NORMAL, MERGED, BOTH].map(|rules| shown(target, &rules));
        assert_eq!(seen, [normal, merged, both], "{target}");
        assert_eq!(shown(target, &PLAIN), target);
    }
}

#[test]
fn escaped_slashes_are_kept_refused_or_slashes() {
    use EscapedSlashes as E;
    for (target, alone, with_all) in [
        ("/a%2Fb?c=%2F%5c", "/a/b?c=%2F%5c", "/a/b?c=%2F%5c"),
        ("/%61%7e%2Fb", "/%61%7e/b", "/a~/b"),
        ("/a/%2e%2e%2f", "/a/%2e%2e/", "/"),
        ("/a%5c..%5Cb", r"/a\..\b", "/b"),
        ("/a%2f/b", "/a//b", "/a/b"),
        ("/%2F%2f%5c%5C", r"///\\", "//"),
        ("/%2f/..", "///..", "//"),
        ("/%2f..", "//..", "/"),
        ("/..%2f..%5c../x", r"/../..\../x", "/x"),
        ("/a%2f%zz", "/a/%zz", "/a/%zz"),
    ] {
        for (action, before) in [(E::Forward, ""), (E::Redirect, "-> ")] {
            let (alone, all) = (format!("{before}{alone}"), format!("{before}{with_all}"));
            assert_eq!(shown(target, &Rules { escaped_slashes: action, ..PLAIN }), alone);
            assert_eq!(shown(target, &Rules { escaped_slashes: action, ..BOTH }), all);
        }
        assert_eq!(shown(target, &Rules { escaped_slashes: E::Refuse, ..BOTH }), "refused");
        assert_eq!(shown(target, &PLAIN), target);
    }
    for action in [E::Keep, E::Refuse, E::Redirect, E::Forward] {
        // Nothing to do about them, and nothing to be sent to.
        assert_eq!(shown("/a/./b?%2f", &Rules { escaped_slashes: action, ..BOTH }), "/a/b?%2f");
    }
}

#[test]
fn no_escape_is_made_of_two_where_envoy_makes_one() {
    for target in ["/%%32e%%32e/b", "/%2%65/b", "/%%35c", "/%2%66"] {
        assert_eq!(shown(target, &BOTH), target);
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    use EscapedSlashes as E;
    let slashes = prop_oneof![Just(E::Keep), Just(E::Refuse), Just(E::Redirect), Just(E::Forward)];
    (slashes, any::<bool>(), any::<bool>()).prop_map(
        |(escaped_slashes, normalize, merge_slashes)| Rules {
            escaped_slashes,
            normalize,
            merge_slashes,
        },
    )
}

fn target_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "(/|\\.|\\\\|%|2|e|E|f|5|c|a|%2e|%2f|%5C|%25|%32|%65|\\?)".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_comes_out_stays_as_it_is(target in target_like(), rules in rules()) {
        if let Outcome::Target(Cow::Owned(once)) | Outcome::Redirect(once) = apply(&target, &rules) {
            prop_assert_eq!(apply(&once, &rules), Outcome::Target(Cow::Borrowed(&once[..])));
        }
    }

    #[test]
    fn no_path_climbs(target in target_like(), rules in rules()) {
        let rules = Rules { normalize: true, ..rules };
        if let Outcome::Target(Cow::Owned(out)) | Outcome::Redirect(out) = apply(&target, &rules) {
            let path = out.split(|byte| *byte == b'?').next().unwrap();
            prop_assert!(path.starts_with(b"/"));
            let segments: Vec<_> = path.split(|byte| b"/\\".contains(byte)).collect();
            prop_assert!(!segments.iter().any(|segment| dot(segment) == Some(segment.len())));
            prop_assert!(!segments.contains(&&b".."[..]), "{:?}", String::from_utf8_lossy(path));
        }
    }
}
