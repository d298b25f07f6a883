//! Owns the names of what TLS counts, towards clients and hosts alike.

stat_set! {
    /// What a listener or a cluster counts of its TLS: `listener.ADDRESS.ssl.`, `cluster.NAME.ssl.`.
    pub enum SslStat {
        ConnectionError = Counter "connection_error",
        FailVerifyCertHash = Counter "fail_verify_cert_hash",
        FailVerifyError = Counter "fail_verify_error",
        FailVerifyNoCert = Counter "fail_verify_no_cert",
        FailVerifySan = Counter "fail_verify_san",
        Handshake = Counter "handshake",
        NoCertificate = Counter "no_certificate",
        OcspStapleFailed = Counter "ocsp_staple_failed",
        OcspStapleOmitted = Counter "ocsp_staple_omitted",
        OcspStapleRequests = Counter "ocsp_staple_requests",
        OcspStapleResponses = Counter "ocsp_staple_responses",
        SessionReused = Counter "session_reused",
        CipherTls13Aes128 = Counter "ciphers.TLS_AES_128_GCM_SHA256" once_written,
        CipherTls13Aes256 = Counter "ciphers.TLS_AES_256_GCM_SHA384" once_written,
        CipherTls13ChaCha20 = Counter "ciphers.TLS_CHACHA20_POLY1305_SHA256" once_written,
        CipherEcdsaAes128 = Counter "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256" once_written,
        CipherEcdsaAes256 = Counter "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384" once_written,
        CipherEcdsaChaCha20 = Counter "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305" once_written,
        CipherRsaAes128 = Counter "ciphers.ECDHE-RSA-AES128-GCM-SHA256" once_written,
        CipherRsaAes256 = Counter "ciphers.ECDHE-RSA-AES256-GCM-SHA384" once_written,
        CipherRsaChaCha20 = Counter "ciphers.ECDHE-RSA-CHACHA20-POLY1305" once_written,
        CurveX25519 = Counter "curves.X25519" once_written,
        CurveX25519MlKem768 = Counter "curves.X25519MLKEM768" once_written,
        CurveP256 = Counter "curves.P-256" once_written,
        CurveP384 = Counter "curves.P-384" once_written,
        SigalgEcdsaP256 = Counter "sigalgs.ecdsa_secp256r1_sha256" once_written,
        SigalgEcdsaP384 = Counter "sigalgs.ecdsa_secp384r1_sha384" once_written,
        SigalgEd25519 = Counter "sigalgs.ed25519" once_written,
        SigalgRsaPkcs1Sha256 = Counter "sigalgs.rsa_pkcs1_sha256" once_written,
        SigalgRsaPkcs1Sha384 = Counter "sigalgs.rsa_pkcs1_sha384" once_written,
        SigalgRsaPkcs1Sha512 = Counter "sigalgs.rsa_pkcs1_sha512" once_written,
        SigalgRsaPssSha256 = Counter "sigalgs.rsa_pss_rsae_sha256" once_written,
        SigalgRsaPssSha384 = Counter "sigalgs.rsa_pss_rsae_sha384" once_written,
        SigalgRsaPssSha512 = Counter "sigalgs.rsa_pss_rsae_sha512" once_written,
        Version12 = Counter "versions.TLSv1.2" once_written,
        Version13 = Counter "versions.TLSv1.3" once_written,
    }
}

stat_set! {
    /// What is known of a certificate of a TLS context: `listener.ADDRESS.ssl.certificate.NAME.` and the like of clusters.
    pub enum CertificateStat {
        ExpirationUnixTimeSeconds = Gauge "expiration_unix_time_seconds",
    }
}

stat_set! {
    /// What a TLS context counts of its secrets: `listener.ADDRESS.server_ssl_socket_factory.` and the like of clusters.
    pub enum SslContextStat {
        DownstreamContextSecretsNotReady = Counter "downstream_context_secrets_not_ready",
        SslContextUpdateBySds = Counter "ssl_context_update_by_sds",
        UpstreamContextSecretsNotReady = Counter "upstream_context_secrets_not_ready",
    }
}
