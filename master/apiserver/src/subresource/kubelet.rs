//! Connections to kubelets: TLS with this master's client certificate, to the node's own certificate only.
//!
//! # Invariants
//! - Whatever address a node publishes, bytes go only to who proves to be that node: a node cannot make the
//!   server talk to itself or to another node (CVE-2022-3294).
//! - Redirects are not followed (CVE-2020-8559).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use master_api::meta;
use master_api::status::ApiError;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use store_env::task::Crew;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::body::RequestBody;
use crate::server::{KubeletClient, TlsError, tls};

const KUBELET_PORT: u16 = 10_250;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a kubelet may take until it begins to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// This master's way to kubelets.
#[derive(Clone)]
pub struct Kubelets {
    connector: TlsConnector,
}

impl std::fmt::Debug for Kubelets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelets").finish_non_exhaustive()
    }
}

/// Where a kubelet is, and who it must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub node: String,
    pub address: SocketAddr,
}

/// An answer, and the connection that it still comes over.
#[derive(Debug)]
pub struct Answer {
    pub response: http::Response<Incoming>,
    pub connection: Crew,
}

impl Kubelets {
    /// The way, from this master's client certificate.
    pub fn new(client: &KubeletClient) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = tls::roots("kubelet CA", &client.ca_pem)?;
        let chain = tls::certificates("kubelet client certificate", &client.cert_chain_pem)?;
        let key = tls::key("kubelet client key", &client.key_pem)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends one request over a connection of its own.
    pub async fn send(
        &self,
        place: &Place,
        request: Request<RequestBody>,
    ) -> Result<Answer, ApiError> {
        let stream = tokio::time::timeout(CONNECT_MAX, self.connect(place)).await;
        let stream = stream.map_err(|_| unreachable(place, &"connection timed out"))??;
        send(place, stream, request).await
    }

    async fn connect(&self, place: &Place) -> Result<TlsStream<TcpStream>, ApiError> {
        let tcp = TcpStream::connect(place.address).await.map_err(|e| unreachable(place, &e))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(place, &e))?;
        let name = ServerName::IpAddress(place.address.ip().into());
        let stream = self.connector.connect(name, tcp).await.map_err(|e| unreachable(place, &e))?;
        is_node(&stream, &place.node)?;
        Ok(stream)
    }
}

/// The other side is this node's kubelet, by its certificate.
fn is_node(stream: &TlsStream<TcpStream>, node: &str) -> Result<(), ApiError> {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let wanted = format!("system:node:{node}");
    let is_it = certificate.is_some_and(|der| {
        let parsed = X509Certificate::from_der(der);
        parsed.is_ok_and(|(_, parsed)| {
            parsed.subject().iter_common_name().any(|name| name.as_str() == Ok(&*wanted))
        })
    });
    if is_it {
        return Ok(());
    }
    Err(ApiError::Internal(format!(
        "the server at node {node}'s address is not that node's kubelet"
    )))
}

/// Sends one request over a stream that is a connection of its own.
pub async fn send<S>(
    place: &Place,
    stream: S,
    request: Request<RequestBody>,
) -> Result<Answer, ApiError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, driver) = handshake.map_err(|e| unreachable(place, &e))?;
    let mut connection = Crew::new();
    connection.spawn(async move {
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "connection to kubelet");
        }
    });
    let answer = tokio::time::timeout(ANSWER_MAX, sender.send_request(request)).await;
    let response = match answer {
        Ok(response) => response.map_err(|e| unreachable(place, &e))?,
        Err(_) => return Err(ApiError::Timeout(format!("{} did not answer in time", place.node))),
    };
    // The sender lives as long as the connection: dropping it would end a body that is still coming.
    connection.spawn(async move {
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    Ok(Answer { response, connection })
}

fn unreachable(place: &Place, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::Internal(format!(
        "error dialing backend {} at {}: {error}",
        place.node, place.address
    ))
}

/// Where a node's kubelet is.
pub fn place(node: &Value) -> Result<Place, ApiError> {
    let name = meta::name(node);
    let addresses = meta::items(node, &["status", "addresses"]);
    let of_kind = |kind: &str| {
        let found = addresses.iter().find(|address| address["type"] == kind);
        found.and_then(|address| address["address"].as_str()?.parse::<IpAddr>().ok())
    };
    let ip = of_kind("InternalIP").or_else(|| of_kind("ExternalIP"));
    let ip = ip.ok_or_else(|| ApiError::Internal(format!("node {name} has no address yet")))?;
    let port = meta::number(node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(KUBELET_PORT);
    Ok(Place { node: name.to_owned(), address: SocketAddr::new(ip, port) })
}

/// Whether an answer sends the client elsewhere.
pub fn is_redirect(code: StatusCode) -> bool {
    code.is_redirection() && code != StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelet_is_at_the_internal_address() {
        let node = json!({"metadata": {"name": "n"}, "status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.7"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10255}}}});
        assert_eq!(place(&node).unwrap().address, "10.0.0.7:10255".parse().unwrap());
        assert!(place(&json!({"metadata": {"name": "n"}})).is_err());
    }
}
