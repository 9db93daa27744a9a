//! TLS from files of certificates: for clients, and mutual between members. Files that are replaced are used
//! by the next connection.

mod allowed;
pub(crate) mod suites;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use store_env::net::{
    Accepted, BoxStream, Handshake, Listening, Plain, Secure, SharedNetwork, Tcp,
};
use store_env::tls::{MutualTls, Reloading};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use self::allowed::{AllowedClients, AllowedServers};
use crate::config::TlsFiles;

/// What the files of one identity hold.
struct Pem<'a> {
    files: &'a TlsFiles,
    /// Of [`TlsFiles::paths`], in their order.
    contents: &'a [Vec<u8>],
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

/// Lists of what was revoked: PEM, or one of them as DER.
fn revocations(
    text: &[u8],
    path: &Path,
) -> anyhow::Result<Vec<CertificateRevocationListDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    let mut found = found.with_context(|| format!("revocations in {}", path.display()))?;
    if found.is_empty() {
        found.push(text.to_vec().into());
    }
    Ok(found)
}

impl Pem<'_> {
    fn content(&self, path: &Path) -> &[u8] {
        let at = self.files.paths().position(|known| known == path);
        at.and_then(|at| self.contents.get(at)).map(Vec::as_slice).unwrap_or_default()
    }

    fn chain(&self, cert: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        certificates(self.content(cert), cert)
    }

    fn key(&self, key: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
        private_key(self.content(key), key)
    }

    fn roots(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let path = self.files.trusted_ca.as_ref().context("a trusted-ca-file is needed")?;
        authorities(self.content(path), path)
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        suites::provider(&self.files.suites)
    }

    fn server(&self) -> anyhow::Result<ServerConfig> {
        let (files, provider) = (self.files, self.provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(files.versions.known())?;
        let builder = if files.is_mutual {
            let mut verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider);
            if let Some(path) = &files.revoked {
                // Of authorities without a list nothing is revoked, as in etcd.
                let lists = revocations(self.content(path), path)?;
                verifier = verifier.with_crls(lists).allow_unknown_revocation_status();
            }
            let verifier = AllowedClients::new(verifier.build()?, files.allowed.clone());
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_no_client_auth()
        };
        let named = || format!("{} and its key", files.cert.display());
        builder
            .with_single_cert(self.chain(&files.cert)?, self.key(&files.key)?)
            .with_context(named)
    }

    fn client(&self) -> anyhow::Result<ClientConfig> {
        let (files, provider) = (self.files, self.provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots()?, provider.clone()).build()?;
        let verifier = AllowedServers::new(verifier, files.allowed.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(files.versions.known())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let own = (files.cert.clone(), files.key.clone());
        let (cert, key) = files.dialling.as_ref().unwrap_or(&own);
        let named = || format!("{} and its key", cert.display());
        builder.with_client_auth_cert(self.chain(cert)?, self.key(key)?).with_context(named)
    }
}

/// A network whose new connections are secured by what the files hold then.
fn reloading(
    files: &TlsFiles,
    listening: Listening,
    make: impl Fn(&Pem<'_>) -> anyhow::Result<Arc<dyn Secure>> + Send + Sync + 'static,
) -> anyhow::Result<SharedNetwork> {
    let paths = files.paths().map(Path::to_owned).collect();
    let owned = files.clone();
    let make = move |contents: &[Vec<u8>]| {
        let pem = Pem { files: &owned, contents };
        make(&pem).map_err(|error| io::Error::other(format!("{error:#}")))
    };
    Ok(Tcp::listening(Reloading::open(paths, Box::new(make))?, listening))
}

/// How members reach each other: plain, or both with certificates of the same authority.
pub(crate) fn peers(
    files: Option<&TlsFiles>,
    listening: Listening,
) -> anyhow::Result<SharedNetwork> {
    let Some(files) = files else { return Ok(Tcp::listening(Plain, listening)) };
    reloading(files, listening, |pem| {
        // Whoever has a certificate of this authority is a member, as in etcd; unless names are asked for, which
        // the handshake looks at.
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
pub(crate) fn clients(files: &TlsFiles, listening: Listening) -> anyhow::Result<SharedNetwork> {
    reloading(files, listening, |pem| {
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

#[cfg(test)]
mod tests;
