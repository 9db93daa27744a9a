//! The certificate authority: makes itself, issues certificates, signs requests.
//!
//! # Invariants
//! - What a certificate says comes from the [`Profile`] that the signer decided on. Of a signing
//!   request only the public key is ever taken: asking for `system:masters` gives nobody anything.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use ring::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509CertificationRequest};

/// Certificates are valid from a little before now, since clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);

/// Why a key or certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM or DER does not hold what it should.
    #[error("{what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// The signing itself failed.
    #[error("signing: {0}")]
    Signing(#[from] rcgen::Error),
}

fn malformed(what: &'static str, reason: impl std::fmt::Display) -> Error {
    Error::Malformed { what, reason: reason.to_string() }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    /// Members of the store are both to each other.
    Peer,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Profile {
    /// For clients the user name.
    pub common_name: String,
    /// For clients the group. (rcgen writes one value per attribute type, so there is one.)
    pub organization: Option<String>,
    /// Names and addresses a server is reached at; addresses in their textual form.
    pub alt_names: Vec<String>,
    pub usage: Usage,
    pub lifetime: Duration,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credential {
    pub certificate_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(key withheld)")
    }
}

impl Credential {
    /// When the certificate ends, in seconds since the Unix epoch.
    pub fn expires_unix_s(&self) -> Result<i64, Error> {
        expires_unix_s(&self.certificate_pem)
    }
}

/// When the first certificate of a PEM file ends, in seconds since the Unix epoch.
pub fn expires_unix_s(certificate_pem: &str) -> Result<i64, Error> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|error| malformed("certificate", error))?;
    let (_, parsed) =
        X509Certificate::from_der(&der).map_err(|error| malformed("certificate", error))?;
    Ok(parsed.validity().not_after.timestamp())
}

/// A cluster's certificate authority.
pub struct Authority {
    credential: Credential,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority that lives ten years.
    pub fn generate(common_name: &str, now_unix_ms: u64) -> Result<Self, Error> {
        let mut params = params(common_name, None, now_unix_ms, Duration::from_secs(3650 * 86_400));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Self::load(Credential { certificate_pem, key_pem: key.serialize_pem() })
    }

    /// Takes up an authority that was stored.
    pub fn load(credential: Credential) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&credential.key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&credential.certificate_pem, key)?;
        Ok(Self { credential, issuer })
    }

    /// The authority's own certificate, as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.credential.certificate_pem
    }

    /// [`public_key_hash`] of the authority's own certificate.
    pub fn public_key_hash(&self) -> Result<String, Error> {
        let der = CertificateDer::from_pem_slice(self.certificate_pem().as_bytes())
            .map_err(|error| malformed("certificate", error))?;
        public_key_hash(&der)
    }

    /// The authority's certificate and key.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Makes a key and a certificate for it.
    pub fn issue(&self, profile: &Profile, now_unix_ms: u64) -> Result<Credential, Error> {
        let key = KeyPair::generate()?;
        let certificate_pem = self.sign(&key, profile, now_unix_ms)?;
        Ok(Credential { certificate_pem, key_pem: key.serialize_pem() })
    }

    /// Signs the public key of a request, with what the profile says. The request proves possession
    /// of the key; whatever else it asks for is ignored.
    pub fn sign_request(
        &self,
        csr_pem: &str,
        profile: &Profile,
        now_unix_ms: u64,
    ) -> Result<String, Error> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        self.sign(&request.public_key, profile, now_unix_ms)
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        profile: &Profile,
        now_unix_ms: u64,
    ) -> Result<String, Error> {
        let mut params = params(
            &profile.common_name,
            profile.organization.as_deref(),
            now_unix_ms,
            profile.lifetime,
        );
        params.subject_alt_names = profile
            .alt_names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => name.as_str().try_into().map(SanType::DnsName),
            })
            .collect::<Result<_, _>>()?;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match profile.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Peer => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

fn params(
    common_name: &str,
    organization: Option<&str>,
    now_unix_ms: u64,
    lifetime: Duration,
) -> CertificateParams {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    let now_s = i64::try_from(now_unix_ms / 1000).unwrap_or(i64::MAX);
    let now = OffsetDateTime::from_unix_timestamp(now_s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    params
}

/// A fresh key pair (ECDSA P-256) as PKCS#8 PEM, with its public half.
pub fn generate_key_pair() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// A key with a request to sign it, both as PEM.
pub fn request(common_name: &str, organization: Option<&str>) -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    let request = params(common_name, organization, 0, Duration::ZERO).serialize_request(&key)?;
    Ok((request.pem()?, key.serialize_pem()))
}

/// `sha256:<hex>` over a certificate's public key (its SubjectPublicKeyInfo), as kubeadm prints it.
pub fn public_key_hash(certificate_der: &[u8]) -> Result<String, Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate_der).map_err(|e| malformed("certificate", e))?;
    let hash = digest::digest(&digest::SHA256, parsed.public_key().raw);
    Ok(format!("sha256:{}", crate::token::hex(hash.as_ref())))
}

/// What a signing request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csr {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<IpAddr>,
}

impl Csr {
    /// Reads a request; its signature is checked.
    pub fn parse(csr_pem: &str) -> Result<Self, Error> {
        let what = "certificate signing request";
        let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
            .map_err(|error| malformed(what, error))?;
        let (_, parsed) =
            X509CertificationRequest::from_der(&der).map_err(|error| malformed(what, error))?;
        CertificateSigningRequestParams::from_pem(csr_pem)?;
        let subject = &parsed.certification_request_info.subject;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).unwrap_or_default()
        };
        let mut csr = Self {
            common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let x509_parser::extensions::ParsedExtension::SubjectAlternativeName(names) =
                extension
            {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) => csr.dns_names.push((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => csr.ip_addresses.extend(address(bytes)),
                        _ => return Err(malformed(what, "asks for a name of an unknown kind")),
                    }
                }
            }
        }
        Ok(csr)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn profile(usage: Usage) -> Profile {
        Profile {
            common_name: "system:node:a".into(),
            organization: Some("system:nodes".into()),
            alt_names: vec!["10.88.0.2".into(), "node-a".into()],
            usage,
            lifetime: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn issued_certificate_says_what_the_profile_says() {
        let authority = Authority::generate("trireme", NOW_MS).unwrap();
        let issued = authority.issue(&profile(Usage::Peer), NOW_MS).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let subject = parsed.subject().to_string();
        assert!(subject.contains("CN=system:node:a") && subject.contains("O=system:nodes"));
        assert_eq!(issued.expires_unix_s().unwrap(), 1_800_086_400);
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn request_gets_the_profile_and_not_what_it_asks_for() {
        let authority = Authority::generate("trireme", NOW_MS).unwrap();
        let (csr, _) = request("admin", Some("system:masters")).unwrap();
        let asked = Csr::parse(&csr).unwrap();
        assert_eq!(asked.organizations, ["system:masters"]);
        let signed = authority.sign_request(&csr, &profile(Usage::Client), NOW_MS).unwrap();
        let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.subject().to_string().contains("masters"));
    }

    #[test]
    fn stored_authority_signs_as_the_same_authority() {
        let authority = Authority::generate("trireme", NOW_MS).unwrap();
        let again = Authority::load(authority.credential().clone()).unwrap();
        let issued = again.issue(&profile(Usage::Server), NOW_MS).unwrap();
        let root = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        assert_eq!(leaf.issuer(), root.subject());
        leaf.verify_signature(Some(root.public_key())).unwrap();
    }
}
