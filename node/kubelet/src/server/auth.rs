//! Who may call the kubelet's server: the API server, and administrators.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::ServerTls;
use crate::error::{Error, Result};

const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// TLS that asks every client for a certificate of the cluster's CA.
pub(super) fn server_config(tls: &ServerTls) -> Result<rustls::ServerConfig> {
    let bad = |what: &str, error: &dyn std::fmt::Display| Error::Server(format!("{what}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.client_ca_pem) {
        let certificate = certificate.map_err(|error| bad("client CA", &error))?;
        roots.add(certificate).map_err(|error| bad("client CA", &error))?;
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&tls.cert_pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad("serving certificate", &error))?;
    let key =
        PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|error| bad("serving key", &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| bad("client CA", &error))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS", &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| bad("serving certificate", &error))?;
    // Upgrades to other protocols exist in HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether the owner of this (verified) certificate may call.
pub(super) fn is_allowed(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let subject = certificate.subject();
    let mut names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let mut groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
    names.any(|name| name == API_SERVER) || groups.any(|group| group == ADMINISTRATORS)
}
