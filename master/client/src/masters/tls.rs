//! The client's side of TLS: trust in the cluster CA, its own certificate, and the name to expect.

use std::sync::Arc;

use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Error, MastersConfig};

/// Where a distribution keeps the CAs it trusts; used when the configuration names no CA.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One configuration for many requests on a connection, one for upgrades.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) shared: Arc<ClientConfig>,
    pub(super) upgrade: Arc<ClientConfig>,
}

/// Builds both from the PEM texts of a configuration.
pub(super) fn build(config: &MastersConfig) -> Result<Tls, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS configuration", error))?;
    let builder = if config.insecure {
        let blind = Arc::new(Blind { provider });
        builder.dangerous().with_custom_certificate_verifier(blind)
    } else {
        builder.with_root_certificates(roots(config.ca_pem.as_deref())?)
    };
    let mut shared = match &config.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.cert_pem, "client certificate")?;
            let key = private_key(&identity.key_pem)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| bad("client certificate and key", error))?
        }
    };
    shared.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut upgrade = shared.clone();
    upgrade.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { shared: Arc::new(shared), upgrade: Arc::new(upgrade) })
}

/// The name a master's certificate must carry: the host of its URL, most often an IP address.
pub(super) fn name(server: &Uri, wanted: Option<&str>) -> Result<ServerName<'static>, String> {
    let host = wanted.or(server.host()).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|_| format!("{host:?} is no host name"))
}

fn roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in certificates(pem, "certificate authority")? {
                roots.add(certificate).map_err(|error| bad("certificate authority", error))?;
            }
        }
        None => {
            let pem = std::fs::read(SYSTEM_CAS).unwrap_or_default();
            let found: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice()).flatten().collect();
            roots.add_parsable_certificates(found);
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &*pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad(what, "it holds no PEM certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(what, error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    match rustls_pemfile::private_key(&mut &*pem) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(bad("client key", "it holds no PEM private key")),
        Err(error) => Err(bad("client key", error)),
    }
}

fn bad(what: &'static str, reason: impl ToString) -> Error {
    Error::BadMaterial { what, reason: reason.to_string() }
}

/// Believes any certificate: `insecure-skip-tls-verify`, asked for by name.
#[derive(Debug)]
struct Blind {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
