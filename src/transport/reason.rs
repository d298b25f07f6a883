//! Owns why handshakes fail in BoringSSL's words, which is what logs are searched for.

use std::{fmt, io};

use rustls::{Error, InvalidMessage, PeerIncompatible};

use crate::tls::{Refusal, Rejection};

/// What BoringSSL's numbers begin with: its own library, and the reason below.
const SSL: u32 = 0x1000_0000;

/// Alerts of the peer's are counted from here.
const ALERTS: u32 = 1000;

/// What is said of a peer that signs with a key that may not.
pub(super) const KEY_USAGE: &str =
    "268435758:SSL routines:OPENSSL_internal:KEY_USAGE_BIT_INCORRECT";

/// What a connection begins with where it does not begin with a hello, as far as BoringSSL tells that apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTls {
    /// HTTP.
    HttpRequest,
    /// HTTP that takes us for a proxy.
    ProxyRequest,
    /// Nothing that is known.
    Unknown,
    /// A record that says that it is too long.
    LongRecord,
    /// A record of TLS in which is no hello.
    NoHello,
}

/// How much says that it is HTTP: as much as the head of a record has.
pub(super) const FIRST_BYTES: usize = 5;

// === impl NotTls ===

impl NotTls {
    /// Source: BoringSSL's `tls_open_handshake`, and `tls_open_record`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        const HTTP: [&[u8]; 4] = [b"GET ", b"POST ", b"HEAD ", b"PUT "];
        match bytes {
            _ if HTTP.iter().any(|method| bytes.starts_with(method)) => NotTls::HttpRequest,
            [b'C', b'O', b'N', b'N', b'E', ..] => NotTls::ProxyRequest,
            [22, 3, _, high, _, ..] if *high > 0x45 => NotTls::LongRecord,
            [22, 3, ..] => NotTls::NoHello,
            _ => NotTls::Unknown,
        }
    }

    /// Whether it is HTTP.
    pub(super) fn is_http(self) -> bool {
        matches!(self, NotTls::HttpRequest | NotTls::ProxyRequest)
    }

    fn words(self) -> (u32, &'static str) {
        match self {
            NotTls::HttpRequest => (156, "HTTP_REQUEST"),
            NotTls::ProxyRequest => (155, "HTTPS_PROXY_REQUEST"),
            NotTls::Unknown => (247, "WRONG_VERSION_NUMBER"),
            NotTls::LongRecord => (146, "ENCRYPTED_LENGTH_TOO_LONG"),
            NotTls::NoHello => (131, "CLIENTHELLO_PARSE_FAILED"),
        }
    }

    /// As a handshake that came to nothing tells it.
    pub(super) fn told(self) -> String {
        let (reason, name) = self.words();
        told(reason, name)
    }
}

impl fmt::Display for NotTls {
    /// As the TLS inspector tells it. Observed: Envoy 1.40.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, name) = self.words();
        let code = SSL + reason;
        write!(f, "TLS_error|error:{code:08x}:SSL routines:OPENSSL_internal:{name}:TLS_error_end")
    }
}

/// What is said of an error of the system's in a handshake with a host; nothing where it has ended the connection.
pub(super) fn of_system(error: &io::Error) -> String {
    /// BoringSSL's number of the system's library.
    const SYSTEM: i32 = 2 << 24;
    let Some(number) = error.raw_os_error() else { return String::new() };
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    format!("TLS_error:|{}:system library:OPENSSL_internal:{words}:TLS_error_end", SYSTEM + number)
}

/// What is said of a peer that is not trusted.
pub(super) fn of_refusal(why: &Refusal) -> String {
    match why {
        Refusal::NoCertificate => told(192, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        _ => told(125, "CERTIFICATE_VERIFY_FAILED"),
    }
}

/// What is said of a client that was sent away.
pub(super) fn of_rejection(why: Rejection) -> String {
    match why {
        Rejection::Fallback => told(157, "INAPPROPRIATE_FALLBACK"),
        Rejection::NoSharedCipher => told(184, "NO_SHARED_CIPHER"),
        Rejection::NoCommonSignature => told(253, "NO_COMMON_SIGNATURE_ALGORITHMS"),
        Rejection::Unstapled => told(133, "CONNECTION_REJECTED"),
    }
}

/// What is said of an error of rustls': BoringSSL's words where they mean the same, else its own.
///
/// Observed: Envoy 1.40, `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` of clients that say such things.
pub(super) fn of_error(error: &Error) -> String {
    use InvalidMessage as I;
    use PeerIncompatible as P;
    match error {
        Error::AlertReceived(alert) => {
            let number = u8::from(*alert);
            match ALERT_NAMES.iter().find(|(known, _)| *known == number) {
                Some((_, name)) => told(ALERTS + u32::from(number), name),
                None => error.to_string(),
            }
        }
        Error::PeerIncompatible(
            P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled
            | P::SupportedVersionsExtensionRequired
            | P::ServerTlsVersionIsDisabledByOurConfig,
        ) => told(240, "UNSUPPORTED_PROTOCOL"),
        Error::PeerIncompatible(P::NoKxGroupsInCommon) => told(266, "NO_SHARED_GROUP"),
        Error::PeerIncompatible(P::NoCipherSuitesInCommon) => told(184, "NO_SHARED_CIPHER"),
        Error::PeerIncompatible(P::NoSignatureSchemesInCommon) => {
            told(253, "NO_COMMON_SIGNATURE_ALGORITHMS")
        }
        Error::InvalidMessage(I::InvalidContentType | I::UnknownProtocolVersion) => {
            told(247, "WRONG_VERSION_NUMBER")
        }
        Error::InvalidMessage(I::HandshakePayloadTooLarge) => told(150, "EXCESSIVE_MESSAGE_SIZE"),
        Error::InvalidMessage(I::MessageTooLarge) => told(146, "ENCRYPTED_LENGTH_TOO_LONG"),
        Error::InappropriateMessage { .. } => told(225, "UNEXPECTED_RECORD"),
        Error::InappropriateHandshakeMessage { .. } => told(223, "UNEXPECTED_MESSAGE"),
        Error::DecryptError => told(139, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"),
        other => other.to_string(),
    }
}

fn told(reason: u32, name: &str) -> String {
    format!("{}:SSL routines:OPENSSL_internal:{name}", SSL + reason)
}

/// What alerts are called that a peer sends: those of SSL 3 by that name, those that came later by another.
const ALERT_NAMES: [(u8, &str); 33] = [
    (0, "SSLV3_ALERT_CLOSE_NOTIFY"),
    (10, "SSLV3_ALERT_UNEXPECTED_MESSAGE"),
    (20, "SSLV3_ALERT_BAD_RECORD_MAC"),
    (21, "TLSV1_ALERT_DECRYPTION_FAILED"),
    (22, "TLSV1_ALERT_RECORD_OVERFLOW"),
    (30, "SSLV3_ALERT_DECOMPRESSION_FAILURE"),
    (40, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    (41, "SSLV3_ALERT_NO_CERTIFICATE"),
    (42, "SSLV3_ALERT_BAD_CERTIFICATE"),
    (43, "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"),
    (44, "SSLV3_ALERT_CERTIFICATE_REVOKED"),
    (45, "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    (46, "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
    (47, "SSLV3_ALERT_ILLEGAL_PARAMETER"),
    (48, "TLSV1_ALERT_UNKNOWN_CA"),
    (49, "TLSV1_ALERT_ACCESS_DENIED"),
    (50, "TLSV1_ALERT_DECODE_ERROR"),
    (51, "TLSV1_ALERT_DECRYPT_ERROR"),
    (60, "TLSV1_ALERT_EXPORT_RESTRICTION"),
    (70, "TLSV1_ALERT_PROTOCOL_VERSION"),
    (71, "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
    (80, "TLSV1_ALERT_INTERNAL_ERROR"),
    (86, "TLSV1_ALERT_INAPPROPRIATE_FALLBACK"),
    (90, "TLSV1_ALERT_USER_CANCELLED"),
    (100, "TLSV1_ALERT_NO_RENEGOTIATION"),
    (110, "TLSV1_ALERT_UNSUPPORTED_EXTENSION"),
    (111, "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE"),
    (112, "TLSV1_ALERT_UNRECOGNIZED_NAME"),
    (113, "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE"),
    (114, "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE"),
    (115, "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY"),
    (116, "TLSV1_ALERT_CERTIFICATE_REQUIRED"),
    (120, "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"),
];
