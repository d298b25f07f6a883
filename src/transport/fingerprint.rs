//! Owns fingerprints of clients: what their hellos have in common, whoever sends them.

use std::fmt::Write as _;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::client_hello::{
    ALPN, ClientHello, GROUPS, POINT_FORMATS, SERVER_NAME, SIGNATURES, VERSIONS,
};
use crate::tls::hex;

/// JA3: the MD5 of a hello's version, suites, extensions, groups and point formats, in its order.
///
/// Source: `salesforce/ja3`. Observed: Envoy 1.40, which leaves GREASE among the groups. MD5 names it; nothing may rest on it.
pub(super) fn ja3(hello: &ClientHello<'_>) -> String {
    let formats = hello.extension(POINT_FORMATS).and_then(|says| says.get(1..)).unwrap_or_default();
    let lists = [
        joined(meant(hello.suites()), "-", decimal),
        joined(meant(hello.extensions().map(|(kind, _)| kind)), "-", decimal),
        joined(hello.listed(GROUPS, 2), "-", decimal),
        joined(formats.iter().map(|format| u16::from(*format)), "-", decimal),
    ];
    hex(&Md5::digest(format!("{},{}", hello.version, lists.join(","))))
}

/// JA4: what a hello is of, and the beginnings of two hashes that do not depend on its order.
///
/// Source: `FoxIO-LLC/ja4`, "JA4: TLS Client Fingerprinting". Observed: Envoy 1.40, which leaves GREASE among the signatures.
pub(super) fn ja4(hello: &ClientHello<'_>) -> String {
    let sorted = |mut all: Vec<u16>| {
        all.sort_unstable();
        joined(all.into_iter(), ",", hexadecimal)
    };
    let suites = meant(hello.suites()).collect::<Vec<_>>();
    let kinds = meant(hello.extensions().map(|(kind, _)| kind)).collect::<Vec<_>>();
    let asks = if kinds.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let counts = format!("{:02}{:02}", suites.len().min(99), kinds.len().min(99));
    let others = kinds.into_iter().filter(|kind| ![SERVER_NAME, ALPN].contains(kind)).collect();
    let mut extensions = sorted(others);
    let signatures = joined(hello.listed(SIGNATURES, 2), ",", hexadecimal);
    if !signatures.is_empty() {
        extensions = extensions + "_" + &signatures;
    }
    let (suites, extensions) = (beginning(&sorted(suites)), beginning(&extensions));
    format!("t{}{asks}{counts}{}_{suites}_{extensions}", version(hello), protocol(hello))
}

/// The newest version that is offered.
fn version(hello: &ClientHello<'_>) -> &'static str {
    let newest = meant(hello.listed(VERSIONS, 1)).max();
    match newest.unwrap_or(hello.version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        _ => "00",
    }
}

/// The first and the last letter of the first protocol that is offered; of one that does not begin and end with letters or
/// digits, those of its hexadecimal digits.
fn protocol(hello: &ClientHello<'_>) -> String {
    let first = hello.protocols().next().unwrap_or_default();
    let (Some(begins), Some(ends)) = (first.first(), first.last()) else { return "00".to_owned() };
    match begins.is_ascii_alphanumeric() && ends.is_ascii_alphanumeric() {
        true => [char::from(*begins), char::from(*ends)].iter().collect(),
        false => format!("{:x}{:x}", begins >> 4, ends & 15),
    }
}

/// The first twelve digits of a hash; zeros for nothing.
fn beginning(of: &str) -> String {
    match of.is_empty() {
        true => "0".repeat(12),
        false => hex(&Sha256::digest(of)).chars().take(12).collect(),
    }
}

/// Without those that are sent so that nobody forgets to be lenient (GREASE; RFC 8701).
fn meant(numbers: impl Iterator<Item = u16>) -> impl Iterator<Item = u16> {
    numbers.filter(|number| number & 0x0f0f != 0x0a0a || number >> 8 != number & 0xff)
}

fn joined(
    numbers: impl Iterator<Item = u16>,
    separator: &str,
    write: fn(&mut String, u16),
) -> String {
    let mut out = String::new();
    for number in numbers {
        if !out.is_empty() {
            out.push_str(separator);
        }
        write(&mut out, number);
    }
    out
}

fn decimal(out: &mut String, number: u16) {
    let _ = write!(out, "{number}");
}

fn hexadecimal(out: &mut String, number: u16) {
    let _ = write!(out, "{number:04x}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Look, client_hello::FirstMessage};

    fn vector(length: usize, content: &[u8]) -> Vec<u8> {
        [&content.len().to_be_bytes()[8 - length..], content].concat()
    }

    fn numbers(length: usize, all: &[u16]) -> Vec<u8> {
        let bytes = all.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
        vector(length, &bytes)
    }

    /// A hello in one record, with these extensions after those that each has.
    fn hello(suites: &[u16], groups: &[u16], signatures: &[u16], more: &[(u16, &[u8])]) -> Vec<u8> {
        let name = vector(2, &[&[0][..], &vector(2, b"a.test")].concat());
        let (groups, signatures) = (numbers(2, groups), numbers(2, signatures));
        let first = [(0, &name[..]), (10, &groups[..]), (11, &[1, 0]), (13, &signatures[..])];
        let extensions = first.iter().chain(more);
        let extensions = extensions
            .flat_map(|(kind, says)| [&kind.to_be_bytes()[..], &vector(2, says)].concat());
        let extensions = vector(2, &extensions.collect::<Vec<_>>());
        let body = [&[3, 3][..], &[7; 32], &[0], &numbers(2, suites), &[1, 0], &extensions];
        let message = [&[1][..], &vector(3, &body.concat())].concat();
        [&[22, 3, 1][..], &vector(2, &message)].concat()
    }

    /// Observed: Envoy 1.40, of the same bytes.
    #[test]
    fn fingerprints_are_those_that_envoy_takes_of_the_same_hello() {
        let (suites, groups, signatures) = ([0x1301, 0xc02b], [29, 23], [0x0403, 0x0804]);
        let plain = |more: &[(u16, &[u8])]| hello(&suites, &groups, &signatures, more);
        let grease = hello(
            &[0x1a1a, 0x1301, 0xc02b, 0x2a2a],
            &[0x3a3a, 29],
            &[0x4a4a, 0x0403],
            &[(43, &[6, 0x5a, 0x5a, 3, 4, 3, 3]), (0x6a6a, &[]), (0x7a7a, &[0])],
        );
        let many = [&[0xc02b][..], &(1..120).collect::<Vec<_>>()].concat();
        let many = hello(&many, &groups, &signatures, &[]);
        for (bytes, expected) in [
            (plain(&[]), "58cc06e95fc9770310ce5aea4ed677db t12d020400_777cda164f4b_876bcc86782c"),
            (grease, "aa44814ac86316a0eb615c30eb5279f7 t13d020500_777cda164f4b_84ab06288541"),
            (many, "6660be814e7b2414107fb5a22bbfb791 t12d990400_eb13f84c2b36_876bcc86782c"),
            (
                plain(&[(16, &[0, 2, 1, b'h'])]),
                "0e477ff80ba2cc42e60e26bd29f2638d t12d0205hh_777cda164f4b_876bcc86782c",
            ),
            (
                plain(&[(16, &[0, 3, 2, b'a', 0xcd])]),
                "0e477ff80ba2cc42e60e26bd29f2638d t12d02056d_777cda164f4b_876bcc86782c",
            ),
            (
                plain(&[(43, &[4, 0x7f, 0x1c, 3, 3])]),
                "1c55f3e12becffedfaa1fce0bab7ca7a t00d020500_777cda164f4b_fb71836bce29",
            ),
            (
                hello(&[0x1a1a], &groups, &signatures, &[]),
                "094a343a5336d6d213ca0567474e6872 t12d000400_000000000000_876bcc86782c",
            ),
        ] {
            let Look::Seen(Some(message)) = FirstMessage::look(&bytes) else {
                panic!("no message")
            };
            let said = message.hello().expect("a hello");
            assert_eq!(format!("{} {}", ja3(&said), ja4(&said)), expected);
        }
    }
}
