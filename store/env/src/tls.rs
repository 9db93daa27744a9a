//! Mutual TLS on TCP connections: both ends show a certificate, and the accepting side decides by it.
//!
//! Which authorities are trusted is in the given rustls configurations; who of those may come in is in `admit`.

mod reloading;

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::net::{Accepted, BoxStream, Handshake, Secure};

pub use reloading::{Make, Reloading};

/// From the other end's certificate (DER, its chain already verified) to its name; `None` refuses it.
pub type Admit = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// Mutual TLS.
#[derive(Clone)]
pub struct MutualTls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    admit: Admit,
}

impl MutualTls {
    /// `client` must present a certificate, `server` must require one.
    pub fn new(client: Arc<ClientConfig>, server: Arc<ServerConfig>, admit: Admit) -> Self {
        Self { connector: client.into(), acceptor: server.into(), admit }
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls").finish_non_exhaustive()
    }
}

impl Secure for MutualTls {
    fn client(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> BoxFuture<'static, io::Result<BoxStream>> {
        let connector = self.connector.clone();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Box::pin(async move {
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(Box::new(connector.connect(name, stream).await?) as BoxStream)
        })
    }

    fn server(&self, stream: TcpStream) -> Handshake {
        let (acceptor, admit) = (self.acceptor.clone(), self.admit.clone());
        Box::pin(async move {
            let stream = acceptor.accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let Some(peer) = shown.and_then(|certificate| admit(certificate)) else {
                let refused = "the certificate shown is none of a member";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused));
            };
            Ok(Accepted { stream: Box::new(stream), peer })
        })
    }
}

/// Believes any certificate of a server: for who asked for that by name, and for who only wants to know whether
/// it answers.
#[derive(Debug)]
pub struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl AnyCertificate {
    /// Signatures are still checked, with this provider's algorithms.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ServerCertVerifier for AnyCertificate {
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::RootCertStore;
    use rustls::crypto::ring::default_provider;
    use rustls::server::WebPkiClientVerifier;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::Tcp;

    type Ca = (CertificateDer<'static>, Issuer<'static, KeyPair>);

    fn ca() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (certificate, Issuer::new(params, key))
    }

    /// A member that trusts `trusted`, has a certificate of `own`, and lets in whom `admit` says.
    fn member(trusted: &Ca, own: &Ca, admit: bool) -> MutualTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let chain = vec![params.signed_by(&key, &own.1).unwrap().der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(trusted.0.clone()).unwrap();
        let (roots, provider) = (Arc::new(roots), Arc::new(default_provider()));
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        let admit: Admit = Arc::new(move |_| admit.then(|| "m1".to_owned()));
        MutualTls::new(Arc::new(client), Arc::new(server), admit)
    }

    async fn meet(near: MutualTls, far: MutualTls) -> io::Result<String> {
        let mut door = Tcp::shared(far).listen("127.0.0.1:0").await?;
        let network = Tcp::shared(near);
        let dial = network.dial(&door.address());
        let accept = async { door.accept().await?.await };
        let (dialled, accepted) = tokio::join!(dial, accept);
        let (mut near, mut far) = (dialled?, accepted?);
        near.write_all(b"x").await?;
        near.flush().await?;
        assert_eq!(far.stream.read_u8().await?, b'x');
        Ok(far.peer)
    }

    #[tokio::test]
    async fn only_a_certificate_of_the_group_that_is_admitted_gets_in() {
        let (ours, theirs) = (ca(), ca());
        let us = |admit| member(&ours, &ours, admit);
        assert_eq!(meet(us(true), us(true)).await.unwrap(), "m1");
        assert!(meet(us(true), us(false)).await.is_err(), "not admitted");
        assert!(meet(member(&ours, &theirs, true), us(true)).await.is_err(), "a stranger dials");
        assert!(meet(us(true), member(&ours, &theirs, true)).await.is_err(), "a stranger answers");
    }
}
