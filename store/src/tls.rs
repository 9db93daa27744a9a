//! TLS from files of certificates: for clients, and mutual between members. Files that are replaced are used
//! by the next connection.

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
use store_env::tls::{MutualTls, Reloading};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// What the files of one identity hold.
struct Pem<'a> {
    files: &'a TlsFiles,
    cert: &'a [u8],
    key: &'a [u8],
    trusted_ca: Option<&'a [u8]>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(text: &[u8], path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.with_context(|| format!("certificates in {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "there is no certificate in {}", path.display());
    Ok(found)
}

fn private_key(text: &[u8], path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text).with_context(|| format!("key in {}", path.display()))
}

fn authorities(text: &[u8], path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text, path)? {
        roots.add(certificate).with_context(|| format!("authority in {}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

impl Pem<'_> {
    fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        certificates(self.cert, &self.files.cert)
    }

    fn key(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        private_key(self.key, &self.files.key)
    }

    fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let both = self.trusted_ca.zip(self.files.trusted_ca.as_ref());
        let (text, path) = both.context("a trusted-ca-file is needed")?;
        authorities(text, path)
    }

    fn server(&self) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = if self.files.is_mutual {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
            builder.with_client_cert_verifier(verifier.build()?)
        } else {
            builder.with_no_client_auth()
        };
        let named = || format!("{} and its key", self.files.cert.display());
        builder.with_single_cert(self.chain()?, self.key()?).with_context(named)
    }

    fn client(&self) -> anyhow::Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let named = || format!("{} and its key", self.files.cert.display());
        builder.with_client_auth_cert(self.chain()?, self.key()?).with_context(named)
    }
}

/// A network whose new connections are secured by what the files hold then.
fn reloading(
    files: &TlsFiles,
    make: impl Fn(&Pem<'_>) -> anyhow::Result<Arc<dyn Secure>> + Send + Sync + 'static,
) -> anyhow::Result<SharedNetwork> {
    let paths = [Some(&files.cert), Some(&files.key), files.trusted_ca.as_ref()];
    let paths = paths.into_iter().flatten().cloned().collect();
    let files = files.clone();
    let make = move |contents: &[Vec<u8>]| {
        let content = |index: usize| contents.get(index).map(Vec::as_slice);
        let (cert, key) = (content(0).unwrap_or_default(), content(1).unwrap_or_default());
        let pem = Pem { files: &files, cert, key, trusted_ca: content(2) };
        make(&pem).map_err(|error| io::Error::other(format!("{error:#}")))
    };
    Ok(Tcp::shared(Reloading::open(paths, Box::new(make))?))
}

/// How members reach each other: plain, or both with certificates of the same authority.
pub(crate) fn peers(files: Option<&TlsFiles>) -> anyhow::Result<SharedNetwork> {
    let Some(files) = files else { return Ok(Tcp::shared(Plain)) };
    reloading(files, |pem| {
        // Whoever has a certificate of this authority is a member, as in etcd.
        let admit = Arc::new(|_: &[u8]| Some("member".to_owned()));
        let (client, server) = (Arc::new(pem.client()?), Arc::new(pem.server()?));
        Ok(Arc::new(MutualTls::new(client, server, admit)))
    })
}

/// How a client of ours trusts a member, and shows its own certificate and key if it has them.
pub(crate) fn client(ca: &Path, own: Option<(&Path, &Path)>) -> anyhow::Result<Arc<ClientConfig>> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(&read(ca)?, ca)?);
    let mut config = match own {
        Some((cert, key)) => {
            let chain = certificates(&read(cert)?, cert)?;
            builder.with_client_auth_cert(chain, private_key(&read(key)?, key)?)?
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
    reloading(files, |pem| {
        let mut config = pem.server()?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(ServerTls { acceptor: Arc::new(config).into() }))
    })
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
