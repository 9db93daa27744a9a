//! The accept loop: TLS, HTTP/1.1 and HTTP/2, and a stop that lets requests finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use master_api::access::Identity;
use store_env::net::{self, BoxStream, cork};
use store_env::task::{Crew, TaskResult};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Server, tls};
use crate::chain;
use crate::metrics::Gauge;

/// How long a client may take over its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be idle, or take over the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(90);
/// How long requests may go on once a stop was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Connections held at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// Bounds against floods of headers and streams (CVE-2023-44487 and its kin).
const HEADER_BYTES_MAX: u32 = 64 * 1024;
const STREAMS_MAX: u32 = 1_000;
const RESETS_MAX: usize = 100;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Server {
    /// Serves `listener` until `stop`, then lets requests finish for a moment.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> TaskResult {
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&self.tls)?));
        let mut connections = Crew::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = connections.next_ended(), if connections.len() >= CONNECTIONS_MAX => continue,
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection =
                        connection(self.clone(), acceptor.clone(), stream, peer, stop.clone());
                    connections.spawn(connection);
                }
                Err(error) => {
                    // Mostly "too many open files": others must end before it is worth another try.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        self.draining.cancel();
        connections.finish(DRAIN_MAX).await;
        let tunnels = std::mem::take(&mut *self.tunnels.lock());
        tunnels.finish(Duration::ZERO).await;
        Ok(())
    }

    /// Speaks HTTP on one connection whose other end is `identity` for certain, until either ends it.
    ///
    /// For whoever accepts connections otherwise than by TLS: a simulation, whose network vouches for names.
    pub async fn serve_stream(
        self: Arc<Self>,
        stream: BoxStream,
        identity: Identity,
        stop: CancellationToken,
    ) {
        let user = identity.user.clone();
        let conversation = speak(self, stream, Client::Known(identity), stop).boxed();
        if let Err(error) = conversation.await {
            tracing::debug!(user, %error, "connection");
        }
    }
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "nodelay");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let client = Client::Certified(peer_certificate(&stream));
    if let Err(error) = speak(server, stream, client, stop).await {
        tracing::debug!(%peer, %error, "connection");
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
enum Client {
    /// Whoever this certificate (DER) names; without one each request says who sends it.
    Certified(Option<Vec<u8>>),
    /// This one, for certain.
    Known(Identity),
}

/// Speaks HTTP until the client goes, or `stop` and the requests under way are answered.
async fn speak(
    server: Arc<Server>,
    stream: impl net::Stream,
    client: Client,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let _counted = Gauge::up(&server.metrics.connections);
    let is_remote = matches!(client, Client::Certified(_));
    let service = service_fn(|request: http::Request<Incoming>| {
        let (server, client) = (server.clone(), client.clone());
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let answer = match client {
                Client::Certified(der) => chain::from_network(server, der, request),
                Client::Known(identity) => chain::from_known(server, identity, request),
            };
            Ok::<_, Infallible>(answer.await)
        }
    });
    let builder = builder(is_remote);
    let (stream, cork) = cork(stream);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        ended = cork.drive(connection.as_mut()) => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            cork.drive(connection).await
        }
    }
}

/// The library takes the date of answers from the machine's clock, and one of a new second is longer on the wire: in
/// simulations, whose clients are known, that changed how much was sent together.
fn builder(has_dates: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .auto_date_header(has_dates)
        .header_read_timeout(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(has_dates)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(|certificate| certificate.to_vec())
}
