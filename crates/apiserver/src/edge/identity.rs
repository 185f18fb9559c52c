//! The server's certificates: a certificate authority of its own, made at start and forgotten at once, and the serving certificate that
//! it signs. Whoever wants to be trusted again after a restart keeps them ([`Identity::to_pem`]).

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::EdgeError;

/// The names under which a local server is reached.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A serving certificate with its key, and the authority that clients must trust to accept it.
#[derive(Debug)]
pub struct Identity {
    ca_pem: String,
    /// Serving certificate and authority, then the serving key.
    pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Makes a new authority and a serving certificate for `names` (DNS names or addresses). Only the serving key is kept:
    /// nobody can sign with this authority again.
    ///
    /// # Errors
    /// [`EdgeError::Certificate`] when a name is not one that a certificate can carry.
    pub fn generate(names: &[&str]) -> Result<Self, EdgeError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name = named("evenkeel-local-ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        within_validity(&mut ca);
        let ca_cert = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut serving = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        serving.distinguished_name = named("evenkeel-apiserver");
        serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        serving.use_authority_key_identifier_extension = true;
        within_validity(&mut serving);
        let cert = serving.signed_by(&key, &issuer)?;
        Ok(Self {
            ca_pem: ca_cert.pem(),
            pem: cert.pem() + &ca_cert.pem() + &key.serialize_pem(),
            chain: vec![cert.der().clone(), ca_cert.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    /// Everything in one text, the serving key included: a secret.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// Reads what [`Identity::to_pem`] gave.
    ///
    /// # Errors
    /// [`EdgeError::KeptCertificate`] when it is something else.
    pub fn from_pem(pem: &str) -> Result<Self, EdgeError> {
        let wrong = |_| EdgeError::KeptCertificate;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(wrong)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(wrong)?;
        // The authority's certificate is the second.
        let ca_pem = pem.match_indices(BEGIN).nth(1).map(|(at, _)| &pem[at..]).and_then(|rest| Some(&rest[..rest.find(END)? + END.len()]));
        let Some(ca_pem) = ca_pem.filter(|_| chain.len() == 2) else { return Err(EdgeError::KeptCertificate) };
        Ok(Self { ca_pem: format!("{ca_pem}\n"), pem: pem.to_owned(), chain, key: PrivateKeyDer::Pkcs8(key) })
    }

    /// The authority's certificate, as a kubeconfig carries it (after base64) in `certificate-authority-data`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The TLS settings of a listener: HTTP/2 is offered first.
    pub(super) fn into_server_config(self) -> Result<rustls::ServerConfig, EdgeError> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Fixed dates: the edge has no clock, and a certificate that lives as long as its process needs none.
fn within_validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_were_kept_are_the_same_again() {
        let made = Identity::generate(&LOCAL_NAMES).expect("valid names");
        let kept = Identity::from_pem(made.to_pem()).expect("what was made can be read");
        let same = |a: &str, b: &str| a.split_whitespace().eq(b.split_whitespace());
        assert!(same(kept.ca_pem(), made.ca_pem()), "{}", kept.ca_pem());
        assert_eq!((&kept.chain, kept.key.secret_der()), (&made.chain, made.key.secret_der()));
        kept.into_server_config().expect("certificate and key belong together");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let made = Identity::generate(&LOCAL_NAMES).expect("valid names");
        let pem = made.to_pem();
        for cut in [0, 10, pem.len() / 2, pem.len() - 40] {
            assert!(Identity::from_pem(&pem[..cut]).is_err(), "{cut}");
        }
    }
}
