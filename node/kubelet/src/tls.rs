//! TLS for probes: the container's certificate is nobody's business, only whether it answers.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use store_env::tls::AnyCertificate;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS connection to whoever answers.
pub(crate) async fn connect_any(
    stream: TcpStream,
    host: IpAddr,
) -> Result<TlsStream<TcpStream>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(host.into());
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| error.to_string())
}
