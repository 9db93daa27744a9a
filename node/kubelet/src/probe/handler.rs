//! One look at a container: a command in it, a request to it, a connection to it.
//!
//! Probes and lifecycle hooks share these.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use node_cri::Runtime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A body is read up to here; the rest does not matter to a probe.
const BODY_BYTES_MAX: usize = 10 << 10;

/// How a look ended: well, or the words that say what was wrong.
pub(crate) type Verdict = Result<(), String>;

/// The number of a port that is given by number or by the name it has in the container.
pub(crate) fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or(format!("unknown port {port:?}"))
}

/// Runs a command; well is exit code 0.
pub(crate) async fn exec(
    runtime: &dyn Runtime,
    id: &str,
    command: &[String],
    timeout: Duration,
) -> Verdict {
    let answer = runtime.exec_sync(id, command.to_vec(), timeout).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    let text = [answer.stdout, answer.stderr].concat();
    let text = String::from_utf8_lossy(&text[..text.len().min(BODY_BYTES_MAX)]).trim().to_owned();
    Err(if text.is_empty() { format!("exit code {}", answer.exit_code) } else { text })
}

/// Connects; well is a connection.
pub(crate) async fn tcp(ip: IpAddr, port: u16, timeout: Duration) -> Verdict {
    connect(ip, port, timeout).await.map(drop)
}

async fn connect(ip: IpAddr, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let address = SocketAddr::new(ip, port);
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {address}: {error}")),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

/// Asks over HTTP or HTTPS (any certificate will do); well is a status from 200 to 399.
pub(crate) async fn http(
    container: &Container,
    action: &HTTPGetAction,
    ip: IpAddr,
    timeout: Duration,
) -> Verdict {
    let port = port(container, &action.port)?;
    let host = action.host.as_deref().filter(|host| !host.is_empty());
    let target = match host {
        Some(host) => host.parse().map_err(|_| format!("host {host:?} is not an address"))?,
        None => ip,
    };
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let url = format!("{scheme}://{}{path}", SocketAddr::new(target, port));
    let mut request = hyper::Request::get(&path)
        .header("host", SocketAddr::new(target, port).to_string())
        .header("user-agent", "kube-probe/1.36")
        .header("connection", "close");
    for header in action.http_headers.iter().flatten() {
        let name = header.name.to_lowercase();
        if let (true, Some(headers)) =
            (name == "host" || name == "user-agent", request.headers_mut())
        {
            headers.remove(name.as_str());
        }
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let ask = async {
        let stream = connect(target, port, timeout).await?;
        match scheme.as_str() {
            "https" => exchange(crate::tls::connect_any(stream, target).await?, request).await,
            _ => exchange(stream, request).await,
        }
    };
    match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(error)) => Err(format!("Get {url:?}: {error}")),
        Err(_) => Err(format!("Get {url:?}: context deadline exceeded")),
    }
}

async fn exchange<S>(stream: S, request: hyper::Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let ask = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        // Read what comes, so that the server can finish its answer.
        let _ = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        Ok(status)
    };
    let ask = std::pin::pin!(ask);
    let connection = std::pin::pin!(connection);
    match futures::future::select(ask, connection).await {
        futures::future::Either::Left((answer, _)) => answer,
        futures::future::Either::Right((_, ask)) => ask.await,
    }
}
