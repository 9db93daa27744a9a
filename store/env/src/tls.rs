//! Mutual TLS on TCP connections: both ends show a certificate, and the accepting side decides by it.
//!
//! Which authorities are trusted is in the given rustls configurations; who of those may come in is in `admit`.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::net::{Accepted, BoxStream, Handshake, Secure};

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
