//! Owns what an OCSP response says of a certificate (RFC 6960, 4.2.1), and until when. Its signature is for clients to verify.

use std::time::{SystemTime, UNIX_EPOCH};

/// A response that is stapled to a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspResponse {
    /// As it goes to clients.
    pub der: Vec<u8>,
    /// Of which certificate: its serial number, in lower-case hexadecimal digits.
    pub serial: String,
    /// From when on, in seconds of Unix time.
    pub this_update: i64,
    /// Until when; for ever, where it does not say.
    pub next_update: Option<i64>,
}

/// Why a response cannot be stapled; Envoy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// It is no response.
    #[error("OCSP response is malformed")]
    Malformed,
    /// The responder had none to give.
    #[error("OCSP response was unsuccessful")]
    Unsuccessful,
    /// It speaks of several certificates.
    #[error("OCSP Response must be for one certificate only")]
    Several,
}

/// ASN.1 tags.
const SEQUENCE: u8 = 0x30;
const ENUMERATED: u8 = 0x0a;
const OCTETS: u8 = 0x04;
const INTEGER: u8 = 0x02;
const TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;

/// What is left to be read of DER.
struct Der<'a>(&'a [u8]);

// === impl OcspResponse ===

impl OcspResponse {
    /// Reads a response.
    ///
    /// # Errors
    ///
    /// [`OcspError`].
    pub fn read(der: &[u8]) -> Result<Self, OcspError> {
        let malformed = OcspError::Malformed;
        let mut response = Der(Der(der).take(SEQUENCE).ok_or(malformed)?);
        match response.take(ENUMERATED) {
            Some([0]) => {}
            Some(_) => return Err(OcspError::Unsuccessful),
            None => return Err(malformed),
        }
        let singles = basic(&mut response).ok_or(malformed)?;
        let mut singles = Der(singles);
        let single = singles.take(SEQUENCE).ok_or(malformed)?;
        if !singles.0.is_empty() {
            return Err(OcspError::Several);
        }
        let (serial, this_update, next_update) = read_single(single).ok_or(malformed)?;
        Ok(Self { der: der.to_vec(), serial, this_update, next_update })
    }

    /// Whether it still holds.
    pub fn is_good(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.next_update.is_none_or(|next| now < next)
    }
}

/// The `SingleResponse`s of a response.
fn basic<'a>(response: &mut Der<'a>) -> Option<&'a [u8]> {
    let mut bytes = Der(Der(response.take(EXPLICIT_0)?).take(SEQUENCE)?);
    bytes.any()?;
    let mut basic = Der(Der(bytes.take(OCTETS)?).take(SEQUENCE)?);
    let mut data = Der(basic.take(SEQUENCE)?);
    if data.peek() == Some(EXPLICIT_0) {
        data.any()?;
    }
    // By whom, and when.
    data.any()?;
    data.any()?;
    data.take(SEQUENCE)
}

fn read_single(single: &[u8]) -> Option<(String, i64, Option<i64>)> {
    let mut single = Der(single);
    let mut id = Der(single.take(SEQUENCE)?);
    id.any()?;
    id.any()?;
    id.any()?;
    let serial = id.take(INTEGER)?;
    // Good, revoked or unknown: the client is told.
    single.any()?;
    let this_update = seconds(single.take(TIME)?)?;
    let next_update = match single.peek() {
        Some(EXPLICIT_0) => Some(seconds(Der(single.take(EXPLICIT_0)?).take(TIME)?)?),
        _ => None,
    };
    let digits = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    Some((super::certificate::hex(digits), this_update, next_update))
}

/// `GeneralizedTime`, which is `YYYYMMDDHHMMSSZ` in DER.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = text.split('.').next()?;
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    // Days since 1970 by the civil calendar, in which a year begins in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year = year.rem_euclid(400);
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
    Some(((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second)
}

// === impl Der ===

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// The next element.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if bytes.is_empty() || bytes.len() > 4 {
                    return None;
                }
                let length = bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin request -respout good.ocsp -ndays 7`
    const GOOD: &[u8] = include_bytes!("../../tests/fixtures/good.ocsp");

    #[test]
    fn a_response_says_of_whom_it_is_and_until_when() {
        let read = OcspResponse::read(GOOD).unwrap();
        assert_eq!(read.serial, "697a7fa05e28ea5187b363ce53baa90f1ed3f167");
        let next = read.next_update.unwrap();
        assert_eq!(next - read.this_update, 7 * 24 * 3600);
        let at = |seconds: i64| UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64);
        assert!(read.is_good(at(next - 1)) && !read.is_good(at(next)));
    }

    #[test]
    fn what_is_cut_short_is_none() {
        for length in 0..GOOD.len() {
            assert!(OcspResponse::read(&GOOD[..length]).is_err(), "{length}");
        }
        // tryLater
        assert_eq!(OcspResponse::read(&[0x30, 3, 0x0a, 1, 3]), Err(OcspError::Unsuccessful));
    }

    #[test]
    fn times_are_read_over_leap_years() {
        for (text, expected) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20261127072939Z", Some(1_795_764_579)),
            ("2026112707293Z", None),
            ("20261127072939", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }
}
