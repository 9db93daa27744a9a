//! TLS from files of certificates: for clients, and mutual between members.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use store_env::net::{Accepted, BoxStream, Handshake, Plain, Secure, SharedNetwork, Tcp};
use store_env::tls::MutualTls;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("certificates in {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "there is no certificate in {}", path.display());
    Ok(certificates)
}

fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("key in {}", path.display()))
}

fn roots(files: &TlsFiles) -> anyhow::Result<Arc<RootCertStore>> {
    roots_in(files.trusted_ca.as_ref().context("a trusted-ca-file is needed")?)
}

fn roots_in(path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn server(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if files.is_mutual {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(files)?, provider());
        builder.with_client_cert_verifier(verifier.build()?)
    } else {
        builder.with_no_client_auth()
    };
    Ok(builder.with_single_cert(chain(&files.cert)?, key(&files.key)?)?)
}

/// How members reach each other: plain, or both with certificates of the same authority.
pub(crate) fn peers(files: Option<&TlsFiles>) -> anyhow::Result<SharedNetwork> {
    let Some(files) = files else { return Ok(Tcp::shared(Plain)) };
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(files)?)
        .with_client_auth_cert(chain(&files.cert)?, key(&files.key)?)?;
    // Whoever has a certificate of this authority is a member, as in etcd.
    let admit = Arc::new(|_: &[u8]| Some("member".to_owned()));
    Ok(Tcp::shared(MutualTls::new(Arc::new(client), Arc::new(server(files)?), admit)))
}

/// How a client of ours trusts a member, and shows its own certificate and key if it has them.
pub(crate) fn client(ca: &Path, own: Option<(&Path, &Path)>) -> anyhow::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots_in(ca)?);
    let mut config = match own {
        Some((certificate, its_key)) => {
            builder.with_client_auth_cert(chain(certificate)?, key(its_key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// What the certificate of whoever listens at `host:port` must be for.
pub(crate) fn name_of(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// How clients are served.
pub(crate) fn clients(files: &TlsFiles) -> anyhow::Result<SharedNetwork> {
    let mut config = server(files)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tcp::shared(ServerTls { acceptor: Arc::new(config).into() }))
}

/// The accepting side only.
struct ServerTls {
    acceptor: TlsAcceptor,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl Secure for ServerTls {
    fn client(&self, _: TcpStream, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    fn server(&self, stream: TcpStream) -> Handshake {
        let acceptor = self.acceptor.clone();
        Box::pin(async move {
            let peer = stream.peer_addr()?.to_string();
            let stream = acceptor.accept(stream).await?;
            Ok(Accepted { stream: Box::new(stream), peer })
        })
    }
}
