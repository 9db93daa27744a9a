//! Who of those with a certificate of the right authority is let in: by the names in it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Allowed;

impl Allowed {
    /// Refuses a certificate without any of the names.
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let is_allowed = match self {
            Self::All => true,
            Self::HostNames(names) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                names.iter().any(|name| verify_server_name(&parsed, name).is_ok())
            }
            Self::CommonNames(names) => {
                let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
                let (_, parsed) = X509Certificate::from_der(certificate).map_err(bad)?;
                let mut found =
                    parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
                found.any(|name| names.iter().any(|allowed| allowed == name))
            }
        };
        let refused = CertificateError::ApplicationVerificationFailure;
        is_allowed.then_some(()).ok_or(Error::InvalidCertificate(refused))
    }
}

/// Those who connect.
#[derive(Debug)]
pub(super) struct AllowedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: Allowed,
}

impl AllowedClients {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>, allowed: Allowed) -> Self {
        Self { verifier, allowed }
    }
}

impl ClientCertVerifier for AllowedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(end_entity, intermediates, now)?;
        self.allowed.check(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Those who are dialled.
#[derive(Debug)]
pub(super) struct AllowedServers {
    verifier: Arc<WebPkiServerVerifier>,
    allowed: Allowed,
}

impl AllowedServers {
    pub(super) fn new(verifier: Arc<WebPkiServerVerifier>, allowed: Allowed) -> Self {
        Self { verifier, allowed }
    }
}

impl ServerCertVerifier for AllowedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        self.allowed.check(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
