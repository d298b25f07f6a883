//! Owns certificates for tests: an authority, and what it signs.

use std::{fs, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, StreamOwned,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What goes with its certificates so that they lead to an authority at the top, PEM.
    between: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// What a client says in a handshake, and whom it trusts.
pub struct Greeting<'a> {
    /// Whom it asks for; an address is not told.
    pub server_name: &'a str,
    /// What it offers.
    pub alpn: &'a [&'a str],
    /// Whom it trusts.
    pub trusts: &'a Authority,
    /// What it shows.
    pub shows: Option<&'a Identity>,
    /// The algorithms it has; all, if none.
    pub provider: Option<CryptoProvider>,
}

/// A connection of a client's, encrypted.
pub type TlsClient = StreamOwned<ClientConnection, std::net::TcpStream>;

impl Authority {
    /// One with a key of its own.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority(name), key).expect("an authority");
        Self { issuer, between: String::new() }
    }

    /// One that this one vouches for.
    pub fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer);
        let issuer = issuer.expect("an authority");
        let between = issuer.pem() + &self.between;
        Self { issuer, between }
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names: domains, or URIs where there is a `:` in them.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, |_| {})
    }

    /// The same with more said of it.
    pub fn issue_for(&self, names: &[&str], more: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.issue_with(names, &KeyPair::generate().expect("a key"), more)
    }

    /// The same with an RSA key.
    pub fn issue_rsa(&self, names: &[&str]) -> Identity {
        let key = include_str!("../fixtures/rsa.key");
        self.issue_with(names, &KeyPair::from_pem(key).expect("the key of the fixture"), |_| {})
    }

    fn issue_with(
        &self,
        names: &[&str],
        key: &KeyPair,
        more: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let (uris, domains): (Vec<&str>, Vec<&str>) = names.iter().partition(|n| n.contains(':'));
        let domains = domains.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(domains).expect("names");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("a URI")));
        }
        params.distinguished_name.push(DnType::CommonName, names[0]);
        more(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("a signature");
        Identity { chain: certificate.pem() + &self.between, key: key.serialize_pem() }
    }

    /// A list of what it takes back, PEM.
    pub fn revokes(&self, revoked: &[&Identity]) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial(),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a signature").pem().expect("a list")
    }

    fn roots(&self) -> RootCertStore {
        roots(&self.pem())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Those who trust this authority, PEM.
pub fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(der).expect("an authority");
    roots
}

impl Identity {
    /// Writes both files: `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        fs::write(folder.join(format!("{name}.pem")), &self.chain).expect("a file");
        fs::write(folder.join(format!("{name}.key")), &self.key).expect("a file");
    }

    fn serial(&self) -> SerialNumber {
        let (chain, _) = self.parts();
        let (_, read) = X509Certificate::from_der(&chain[0]).expect("a certificate");
        SerialNumber::from_slice(read.raw_serial())
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key"))
    }

    /// How a host with this identity greets; with `trusts`, clients show a certificate of that authority.
    pub fn server(&self, trusts: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
        let (chain, key) = self.parts();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match trusts {
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).expect("an identity");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl<'a> Greeting<'a> {
    /// One that asks for this, and says nothing more.
    pub fn new(server_name: &'a str, trusts: &'a Authority) -> Self {
        Self { server_name, alpn: &[], trusts, shows: None, provider: None }
    }

    /// The same in this version alone.
    pub fn speaking(self, version: ProtocolVersion) -> Self {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.version().version == version);
        Self { provider: Some(provider), ..self }
    }

    /// How it is said; each has a memory of its own for sessions.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = self.provider.clone().unwrap_or_else(ring::default_provider);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.trusts.roots());
        let mut config = match self.shows {
            Some(identity) => {
                let (chain, key) = identity.parts();
                builder.with_client_auth_cert(chain, key).expect("an identity")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Whom it asks for, as rustls has it.
    pub fn name(&self) -> ServerName<'static> {
        self.server_name.to_owned().try_into().expect("a name")
    }
}
