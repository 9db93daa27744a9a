//! exec, attach and port-forward: the runtime gives a URL, and the bytes go through untouched.
//!
//! The client and the runtime negotiate their stream protocol between them; this is a tunnel.
//!
//! # Invariants
//! - Bytes flow only after the runtime has answered 101; anything else ends the exchange.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderName, UPGRADE};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use node_cri::v1;
use tokio::net::TcpStream;

use super::{Body, Query, Server, text};
use crate::view::PodView;

const DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Headers by which the two ends agree on a protocol.
const FORWARDED: &[&str] = &[
    "x-stream-protocol-version",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "origin",
];

/// What is wrong, as an answer.
type Refusal = Response<Body>;

fn refuse(status: StatusCode, message: impl Into<String>) -> Refusal {
    text(status, message.into())
}

impl Server {
    /// The running container of a pod, by name.
    async fn running(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<String, Refusal> {
        let view = self.view(namespace, name).await?;
        let running = view.running().find(|found| found.name == container);
        running.map(|found| found.id.clone()).ok_or_else(|| {
            let message = format!("container not found (\"{container}\")");
            refuse(StatusCode::NOT_FOUND, message)
        })
    }

    pub(super) async fn view(&self, namespace: &str, name: &str) -> Result<PodView, Refusal> {
        let pod = self.find(namespace, name).ok_or_else(|| {
            refuse(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found in {namespace}"))
        })?;
        let uid = crate::pod::uid(&pod);
        PodView::read(self.cx.runtime.as_ref(), uid)
            .await
            .map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    pub(super) async fn exec(
        &self,
        request: Request<Incoming>,
        query: &Query,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Response<Body> {
        let container_id = match self.running(namespace, name, container).await {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let tty = query.is_true(&["tty"]);
        let url = self.cx.runtime.exec(v1::ExecRequest {
            container_id,
            cmd: query.all("command"),
            tty,
            stdin: query.is_true(&["input", "stdin"]),
            stdout: query.is_true(&["output", "stdout"]),
            // A terminal has one output.
            stderr: query.is_true(&["error", "stderr"]) && !tty,
        });
        let url = url.await;
        self.tunnel(request, url).await
    }

    pub(super) async fn attach(
        &self,
        request: Request<Incoming>,
        query: &Query,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Response<Body> {
        let container_id = match self.running(namespace, name, container).await {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let pod = self.find(namespace, name);
        let spec = pod.as_ref().and_then(|pod| crate::pod::container(pod, container));
        let tty = spec.and_then(|(_, spec)| spec.tty).unwrap_or(false);
        let url = self.cx.runtime.attach(v1::AttachRequest {
            container_id,
            tty,
            stdin: query.is_true(&["input", "stdin"]),
            stdout: query.is_true(&["output", "stdout"]),
            stderr: query.is_true(&["error", "stderr"]) && !tty,
        });
        let url = url.await;
        self.tunnel(request, url).await
    }

    pub(super) async fn port_forward(
        &self,
        request: Request<Incoming>,
        query: &Query,
        namespace: &str,
        name: &str,
    ) -> Response<Body> {
        let view = match self.view(namespace, name).await {
            Ok(view) => view,
            Err(refusal) => return refusal,
        };
        let Some(sandbox) = view.ready_sandbox() else {
            return refuse(StatusCode::NOT_FOUND, format!("pod \"{name}\" is not running"));
        };
        let ports = query.all("port");
        let url = self.cx.runtime.port_forward(v1::PortForwardRequest {
            pod_sandbox_id: sandbox.id.clone(),
            port: ports.iter().filter_map(|port| port.parse().ok()).collect(),
        });
        let url = url.await;
        self.tunnel(request, url).await
    }

    async fn tunnel(
        &self,
        request: Request<Incoming>,
        url: node_cri::Result<String>,
    ) -> Response<Body> {
        if !request.headers().contains_key(UPGRADE) {
            return refuse(StatusCode::BAD_REQUEST, "Upgrade request required");
        }
        let url = match url {
            Ok(url) => url,
            Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        match tokio::time::timeout(DEADLINE, self.connect(request, &url)).await {
            Ok(Ok(response)) => response,
            Ok(Err(message)) => refuse(StatusCode::BAD_GATEWAY, message),
            Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "the container runtime does not answer"),
        }
    }

    async fn connect(
        &self,
        mut request: Request<Incoming>,
        url: &str,
    ) -> Result<Response<Body>, String> {
        let uri: Uri = url.parse().map_err(|_| format!("streaming URL {url:?}"))?;
        let authority = uri.authority().ok_or("streaming URL without an address")?.clone();
        let stream = TcpStream::connect(authority.as_str()).await.map_err(|it| it.to_string())?;
        let _ = stream.set_nodelay(true);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        self.streams.lock().spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "stream to the runtime");
            }
        });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut onward = Request::builder().method(request.method()).uri(path);
        onward = onward.header(HOST, authority.as_str()).header(CONNECTION, "Upgrade");
        for (name, value) in request.headers() {
            if *name == UPGRADE || FORWARDED.contains(&name.as_str()) {
                onward = onward.header(name, value);
            }
        }
        let onward = onward.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let mut answer = sender.send_request(onward).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(refused(answer).await);
        }
        let ours = hyper::upgrade::on(&mut request);
        let theirs = hyper::upgrade::on(&mut answer);
        self.streams.lock().spawn(async move {
            if let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) {
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            }
        });
        let mut response = Response::new(Full::default().boxed());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in answer.headers() {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    }
}

/// The runtime's refusal, word for word, and the end of the connection.
async fn refused(answer: Response<Incoming>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut response = text(parts.status, bytes);
    for name in ["content-type", "x-accepted-stream-protocol-versions"] {
        if let Some(value) = parts.headers.get(name) {
            response.headers_mut().insert(HeaderName::from_static(name), value.clone());
        }
    }
    let close = hyper::header::HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
