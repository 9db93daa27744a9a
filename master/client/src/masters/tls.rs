//! The client's side of TLS: trust in the cluster CA, its own certificate, and the name to expect.

use std::sync::Arc;

use http::Uri;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use store_env::tls::AnyCertificate;

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
        let any = Arc::new(AnyCertificate::new(provider));
        builder.dangerous().with_custom_certificate_verifier(any)
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
