//! The kubelet's server: logs, exec, attach, port-forward and state, for the API server only.
//!
//! # Path
//! TLS with a client certificate → `auth.rs` → here → `logs.rs`, `stream.rs`
//!
//! # Invariants
//! - Nothing is answered to a client without a certificate of the cluster's CA and an allowed name.

mod auth;
mod follow;
mod logs;
mod stream;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use master_client::informer::Store;
use parking_lot::Mutex;
use store_env::task::{Crew, Group, TaskResult};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod;
use crate::source::files::StaticPods;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

type Body = BoxBody<Bytes, Infallible>;

/// Binds the server's port and starts serving; does nothing where no certificate is configured.
pub(crate) fn start(
    cx: &Arc<Context>,
    pods: Option<Store<Pod>>,
    statics: watch::Receiver<StaticPods>,
    group: &mut Group,
) -> Result<()> {
    let Some(tls) = &cx.config.server else { return Ok(()) };
    let acceptor = TlsAcceptor::from(Arc::new(auth::server_config(tls)?));
    let address = cx.config.listen;
    let failed =
        |error: std::io::Error| Error::Server(format!("cannot listen on {address}: {error}"));
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let server = Arc::new(Server { cx: cx.clone(), pods, statics, streams: Mutex::default() });
    group.spawn("kubelet-server", move |stop| accept(server, listener, acceptor, stop));
    Ok(())
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    stop: CancellationToken,
) -> TaskResult {
    let mut connections = Crew::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(server.clone(), acceptor.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "kubelet server");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await
    else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let is_allowed = certificates.first().is_some_and(|leaf| auth::is_allowed(leaf));
    let service = service_fn(move |request| {
        let server = server.clone();
        async move {
            let response = match is_allowed {
                true => server.answer(request).await,
                false => text(StatusCode::FORBIDDEN, "Forbidden"),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    let served = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "kubelet connection");
    }
}

/// A whole answer.
fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response
}

/// What the handlers share.
struct Server {
    cx: Arc<Context>,
    pods: Option<Store<Pod>>,
    statics: watch::Receiver<StaticPods>,
    /// Streams outlive the requests that opened them.
    streams: Mutex<Crew>,
}

/// Query parameters, in order; keys may repeat.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == key).map(|(_, value)| value.clone()).collect()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn is_true(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| matches!(self.get(key), Some("1" | "true")))
    }
}

/// Percent-decoding, with `+` for a blank.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path: Vec<String> =
            request.uri().path().split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = Query::of(&request);
        let may_change = matches!(*request.method(), Method::GET | Method::POST);
        match path.as_slice() {
            _ if !may_change => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            ["healthz"] => text(StatusCode::OK, "ok"),
            ["pods"] => self.list(),
            ["metrics"] => text(StatusCode::OK, self.metrics()),
            ["stats", "summary"] => self.stats().await,
            ["containerLogs", namespace, name, container] => {
                self.logs(namespace, name, container, &query).await
            }
            ["exec", namespace, name, container] | ["exec", namespace, name, _, container] => {
                self.exec(request, &query, namespace, name, container).await
            }
            ["attach", namespace, name, container] | ["attach", namespace, name, _, container] => {
                self.attach(request, &query, namespace, name, container).await
            }
            ["portForward", namespace, name] | ["portForward", namespace, name, _] => {
                self.port_forward(request, &query, namespace, name).await
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn all_pods(&self) -> BTreeMap<String, Arc<Pod>> {
        let statics = self.statics.borrow().clone().unwrap_or_default();
        let all = statics.into_values().chain(self.pods.iter().flat_map(Store::list));
        let real = all.filter(|pod| !pod::is_mirror(pod));
        real.map(|pod| (pod::key(&pod), pod)).collect()
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.all_pods().remove(&format!("{namespace}/{name}"))
    }

    fn list(&self) -> Response<Body> {
        let items: Vec<Pod> = self
            .all_pods()
            .into_values()
            .map(|pod| {
                let mut pod = Pod::clone(&pod);
                pod.status = self.cx.statuses.last(pod::uid(&pod)).or(pod.status);
                pod
            })
            .collect();
        let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "items": items});
        text(StatusCode::OK, list.to_string())
    }

    fn metrics(&self) -> String {
        let pods = self.all_pods();
        let running = pods.values().filter(|pod| {
            let status = self.cx.statuses.last(pod::uid(pod));
            status.and_then(|status| status.phase).as_deref() == Some("Running")
        });
        format!(
            "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n\
             # TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
             # HELP kubelet_active_pods Pods that the sources want here\n\
             # TYPE kubelet_active_pods gauge\nkubelet_active_pods {}\n",
            running.count(),
            pods.len()
        )
    }

    async fn stats(&self) -> Response<Body> {
        let stats = match self.cx.runtime.list_stats().await {
            Ok(stats) => stats,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let mut pods: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for each in stats {
            let Some(attributes) = each.attributes else { continue };
            let uid = attributes.labels.get(crate::view::POD_UID).cloned().unwrap_or_default();
            let (cpu, memory) = (each.cpu.unwrap_or_default(), each.memory.unwrap_or_default());
            pods.entry(uid).or_default().push(serde_json::json!({
                "name": attributes.metadata.map(|metadata| metadata.name),
                "cpu": {
                    "usageNanoCores": cpu.usage_nano_cores.map(|it| it.value),
                    "usageCoreNanoSeconds": cpu.usage_core_nano_seconds.map(|it| it.value),
                },
                "memory": {
                    "workingSetBytes": memory.working_set_bytes.map(|it| it.value),
                    "usageBytes": memory.usage_bytes.map(|it| it.value),
                },
            }));
        }
        let all = self.all_pods();
        let listed: Vec<serde_json::Value> = all
            .values()
            .map(|pod| {
                serde_json::json!({
                    "podRef": {"name": pod::name(pod), "namespace": pod::namespace(pod),
                               "uid": pod::uid(pod)},
                    "containers": pods.get(pod::uid(pod)).cloned().unwrap_or_default(),
                })
            })
            .collect();
        let node = serde_json::json!({"nodeName": self.cx.config.node_name});
        let summary = serde_json::json!({"node": node, "pods": listed});
        text(StatusCode::OK, summary.to_string())
    }
}

#[cfg(test)]
mod tests;
