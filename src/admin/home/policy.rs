//! Owns how a content security policy names a script or a style that stands in a page: by its SHA-256.

use sha2::{Digest, Sha256};

use crate::base64;

/// A source expression such as `sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=`.
pub(super) fn source(text: &str) -> String {
    format!("sha256-{}", base64::write(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_sha256sum_prints_in_base64() {
        assert_eq!(source("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
