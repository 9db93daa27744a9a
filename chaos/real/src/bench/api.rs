//! A lean client: HTTP/2 connections that clients share in turn, and bodies as bytes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt as _;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// What is sent, and its media type.
pub(super) type Body = Option<(Bytes, &'static str)>;

/// Lists are large: no waiting for window updates.
const WINDOW_BYTES: u32 = 8 << 20;

/// Connections to one server.
#[derive(Debug)]
pub(super) struct Api {
    senders: Vec<SendRequest<Full<Bytes>>>,
    server: Uri,
    token: Option<String>,
    /// Runs the connections; they end with it.
    _crew: Mutex<store_env::task::Crew>,
}

impl Api {
    pub(super) async fn connect(kubeconfig: &Path, connections: usize) -> anyhow::Result<Self> {
        let users = master_client::kubeconfig::load_file(kubeconfig)?.users;
        let token = users.into_iter().find_map(|named| named.user.token);
        let read = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let server = config.cluster_url.clone();
        let host = server.host().context("the server's URL has no host")?.to_owned();
        let address = (host.clone(), server.port_u16().unwrap_or(443));
        let mut crew = store_env::task::Crew::new();
        let mut senders = Vec::new();
        for _ in 0..connections {
            let tcp = TcpStream::connect(address.clone()).await?;
            tcp.set_nodelay(true)?;
            let stream = connector.connect(ServerName::try_from(host.clone())?, tcp).await?;
            ensure!(
                stream.get_ref().1.alpn_protocol() == Some(b"h2"),
                "the server speaks no HTTP/2"
            );
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .handshake(TokioIo::new(stream))
                .await?;
            crew.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended");
                }
            });
            senders.push(sender);
        }
        Ok(Self { senders, server, token, _crew: Mutex::new(crew) })
    }

    /// Sends a request; the answer's body is read and dropped. An answer that is not a success is an error.
    pub(super) async fn ask(
        &self,
        client: usize,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<()> {
        let response = self.send(client, method, path, body).await?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut refused = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame?;
            if let (false, Some(data)) = (status.is_success(), frame.data_ref()) {
                refused.extend_from_slice(data);
            }
        }
        super::refusal(status, &refused)
    }

    /// Sends a request and returns its answer as it comes.
    pub(super) async fn send(
        &self,
        client: usize,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri = format!("{}{path}", self.server.to_string().trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((_, media_type)) = &body {
            request = request.header(CONTENT_TYPE, *media_type);
        }
        let body = body.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut sender = self.senders[client % self.senders.len()].clone();
        sender.ready().await?;
        Ok(sender.send_request(request.body(Full::new(body))?).await?)
    }
}
