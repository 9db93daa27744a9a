//! Connections of clients: HTTP/2 with gRPC, or HTTP/1 for the plain questions, on the same port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use store_env::net::{Handshake, Listener};
use store_env::task::{Crew, TaskResult};
use tokio_util::sync::CancellationToken;

use crate::authority::Mended;
use crate::facade::Facade;
use crate::front::{Door, Front};
use crate::http::answer;
use crate::metrics::Traffic;
use crate::route::Routes;

/// How long a client may take over its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a client may take over the head of a plain request.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// How long requests may go on once a stop was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Serves etcd's API and the plain questions, until told to stop.
pub async fn api(
    facade: Arc<Facade>,
    door: Door,
    listener: Box<dyn Listener>,
    stop: CancellationToken,
) -> TaskResult {
    let (routes, traffic) = (Routes::new(&facade, door), facade.metrics.traffic.clone());
    let front = facade.options.front.clone();
    accept(listener, stop, traffic, front, move || routes.clone()).await
}

/// Serves the plain questions only, until told to stop.
pub async fn plain(
    facade: Arc<Facade>,
    listener: Box<dyn Listener>,
    stop: CancellationToken,
) -> TaskResult {
    let (traffic, front) = (facade.metrics.traffic.clone(), facade.options.front.clone());
    let service = move || {
        let facade = facade.clone();
        service_fn(move |request: Request<Incoming>| {
            let (method, target) = (request.method().clone(), request.uri().clone());
            let answer = answer(facade.clone(), method, target);
            async move { Ok::<http::Response<Full<Bytes>>, std::convert::Infallible>(answer.await) }
        })
    };
    accept(listener, stop, traffic, front, service).await
}

/// Counts changes of the leader, for the figures, until told to stop.
pub async fn observe(facade: Arc<Facade>, stop: CancellationToken) -> TaskResult {
    let mut changes = facade.leadership_changes();
    let mut last = None;
    loop {
        let leader = changes.borrow_and_update().leader;
        if leader.is_some() && leader != last {
            facade.metrics.leader_changed();
            last = leader;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = changes.changed() => if changed.is_err() {
                // The store has stopped, and with it all of us.
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

async fn accept<S, B>(
    mut listener: Box<dyn Listener>,
    stop: CancellationToken,
    traffic: Arc<Traffic>,
    front: Front,
    service: impl Fn() -> S,
) -> TaskResult
where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut crew = Crew::new();
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = listener.accept() => next,
        };
        match next {
            Ok(handshake) => {
                crew.spawn(connection(
                    handshake,
                    builder(&front),
                    service(),
                    traffic.clone(),
                    stop.clone(),
                ));
            }
            Err(error) => {
                // Out of file descriptors, most likely: existing connections go on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    crew.finish(DRAIN_MAX).await;
    Ok(())
}

async fn connection<S, B>(
    handshake: Handshake,
    builder: auto::Builder<TokioExecutor>,
    service: S,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let accepted = match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return tracing::info!(%error, "a connection was refused"),
        Err(_) => return tracing::info!("a connection was not made in time"),
    };
    let stream = TokioIo::new(Mended::new(accepted.stream, traffic));
    let connection = builder.serve_connection(stream, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = accepted.peer, %error, "connection");
    }
}

fn builder(front: &Front) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(front.streams_max)
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .keep_alive_interval(front.keep_alive_every)
        .keep_alive_timeout(front.keep_alive_timeout);
    builder
}
