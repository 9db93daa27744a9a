//! One connection to one master: TCP, TLS, HTTP/2 (or a fresh HTTP/1.1 for an upgrade).
//!
//! Knows nothing of other masters; says of each failure whether the request can have been carried out.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use store_env::net::SharedNetwork;
use store_env::task::Crew;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::tls::{self, Tls};

/// TCP, TLS and the first answer of a new connection, all together.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a master answers as long as its process works.
pub(super) const LIVE: &str = "/livez";
/// What it answers while a quorum of masters hears it, too: cut off with a minority, it does not.
pub(super) const READY: &str = "/readyz";

/// A LIST of thousands of objects should not wait for window updates.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Whether a failed request can have been carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// Certainly not: it never left, or the master refused to look at it.
    NotSent(String),
    /// Nobody knows.
    Unknown(String),
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Io = TokioIo<Box<dyn Wire>>;

/// How to reach a master.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) tls: Tls,
    pub(super) server_name: Option<String>,
    pub(super) network: Option<SharedNetwork>,
}

/// A live connection. Its tasks end when this is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) server: Uri,
    /// Cancelled when the connection ended or the master was given up: nothing waits any more.
    pub(super) lost: CancellationToken,
    /// Cancelled when the client moved to another master: what can be asked again there moves along,
    /// while writes under way get a little longer, for a slow master is not a dead one.
    pub(super) left: CancellationToken,
    /// `None`: this server speaks HTTP/1.1 only, every request gets a connection of its own.
    sender: Option<http2::SendRequest<Full<Bytes>>>,
    crew: Arc<Mutex<Crew>>,
}

impl Dialer {
    /// Connects and shakes hands.
    pub(super) async fn session(&self, server: &Uri) -> Result<Session, String> {
        let (io, is_h2) = self.dial(server, false).await?;
        let crew = Arc::new(Mutex::new(Crew::new()));
        let lost = CancellationToken::new();
        let left = lost.child_token();
        let mut session = Session { server: server.clone(), lost, left, sender: None, crew };
        if is_h2 {
            let exec = CrewExec { crew: Arc::downgrade(&session.crew) };
            let (sender, connection) = http2::Builder::new(exec)
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(io)
                .await
                .map_err(|error| chain(&error))?;
            let lost = session.lost.clone();
            session.crew.lock().spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = chain(&error), "connection to a master ended");
                }
                lost.cancel();
            });
            session.sender = Some(sender);
        }
        Ok(session)
    }

    /// Sends one request on an HTTP/1.1 connection of its own, which may become an upgraded stream.
    /// The connection's task goes to `crew`.
    pub(super) async fn fresh(
        &self,
        server: &Uri,
        request: Request<Full<Bytes>>,
        crew: &Mutex<Crew>,
    ) -> Result<Response<Incoming>, Failure> {
        let request = origin_form(request).map_err(Failure::NotSent)?;
        let dialed = tokio::time::timeout(DIAL_TIMEOUT, self.dial(server, true)).await;
        let dialed = dialed.unwrap_or_else(|_| Err(silent(DIAL_TIMEOUT)));
        let (io, _) = dialed.map_err(Failure::NotSent)?;
        let (mut sender, connection) =
            http1::handshake(io).await.map_err(|error| Failure::NotSent(chain(&error)))?;
        crew.lock().spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = chain(&error), "connection to a master ended");
            }
        });
        sender.send_request(request).await.map_err(|error| Failure::Unknown(chain(&error)))
    }

    async fn dial(&self, server: &Uri, is_upgrade: bool) -> Result<(Io, bool), String> {
        let host = server.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Some(network) = &self.network {
            let stream = network.dial(&format!("{host}:{}", port(server))).await;
            return Ok((TokioIo::new(Box::new(stream.map_err(|e| plain(&e))?)), !is_upgrade));
        }
        let tcp = TcpStream::connect((bare, port(server))).await.map_err(|e| plain(&e))?;
        tcp.set_nodelay(true).map_err(|e| plain(&e))?;
        if server.scheme_str() == Some("http") {
            return Ok((TokioIo::new(Box::new(tcp)), false));
        }
        let config = if is_upgrade { &self.tls.upgrade } else { &self.tls.shared };
        let name = tls::name(server, self.server_name.as_deref())?;
        let stream = TlsConnector::from(config.clone())
            .connect(name, tcp)
            .await
            .map_err(|error| format!("TLS: {}", plain(&error)))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((TokioIo::new(Box::new(stream)), is_h2))
    }
}

impl Session {
    /// Whether requests may still be put on this connection.
    pub(super) fn is_open(&self) -> bool {
        !self.left.is_cancelled() && self.sender.as_ref().is_none_or(|sender| !sender.is_closed())
    }

    /// Sends one request and waits for the head of its answer, or until `given_up`. `crew` gets the task
    /// of a connection that is made for this request alone.
    pub(super) async fn send(
        &self,
        dialer: &Dialer,
        crew: &Mutex<Crew>,
        request: Request<Full<Bytes>>,
        given_up: &CancellationToken,
    ) -> Result<Response<Incoming>, Failure> {
        let Some(mut sender) = self.sender.clone() else {
            return dialer.fresh(&self.server, request, crew).await;
        };
        tokio::select! {
            // An answer that is there counts, even if the master was given up in the same moment.
            biased;
            answer = sender.try_send_request(request) => answer.map_err(|mut failed| {
                let returned = failed.take_message().is_some();
                let reason = chain(failed.error());
                if returned || was_refused(failed.error()) { Failure::NotSent(reason) } else { Failure::Unknown(reason) }
            }),
            () = given_up.cancelled() => Err(Failure::Unknown("it stopped answering".into())),
        }
    }

    /// Asks the master [`LIVE`] or [`READY`]. Any answer but a 5xx is a yes.
    pub(super) async fn probe(
        &self,
        path: &str,
        dialer: &Dialer,
        crew: &Mutex<Crew>,
    ) -> Result<(), String> {
        let request = Request::get(on(&self.server, path)?).body(Full::default());
        let request = request.map_err(|error| error.to_string())?;
        match self.send(dialer, crew, request, &self.lost).await {
            Ok(answer) if answer.status().is_server_error() => Err(unwell(path, answer.status())),
            Ok(_) => Ok(()),
            Err(Failure::NotSent(reason) | Failure::Unknown(reason)) => Err(reason),
        }
    }
}

/// `path` (with its query) at a server, below the path its own URL may have.
pub(super) fn on(server: &Uri, path: &str) -> Result<Uri, String> {
    let prefix = server.path().trim_end_matches('/');
    let authority = server.authority().map(|authority| authority.as_str()).unwrap_or_default();
    Uri::builder()
        .scheme(server.scheme_str().unwrap_or("https"))
        .authority(authority)
        .path_and_query(format!("{prefix}{path}"))
        .build()
        .map_err(|error| error.to_string())
}

/// As HTTP/1.1 wants it: the path in the request line, the authority in `Host`.
fn origin_form(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, String> {
    let uri = request.uri().clone();
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| format!("{path}: {error}"))?;
    Ok(request)
}

/// An error with all its causes, each said once.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

pub(super) fn silent(after: Duration) -> String {
    format!("no answer within {} s", after.as_secs())
}

fn unwell(path: &str, status: StatusCode) -> String {
    format!("it answers, but says it is not well ({path}: {})", status.as_u16())
}

fn port(server: &Uri) -> u16 {
    server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 })
}

/// `connection refused`, without the number of the error.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::UnexpectedEof => "it closed the connection".into(),
        _ => chain(error),
    }
}

/// A stream that the master closed unprocessed: refused, or above the last one of its GOAWAY.
fn was_refused(error: &hyper::Error) -> bool {
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let reason = cause.reason();
    (cause.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
        || (cause.is_go_away() && cause.is_remote() && reason == Some(h2::Reason::NO_ERROR))
}

/// Puts hyper's tasks into a session's crew; weak, because those tasks hold it.
#[derive(Clone, Debug)]
struct CrewExec {
    crew: Weak<Mutex<Crew>>,
}

impl<F> hyper::rt::Executor<F> for CrewExec
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if let Some(crew) = self.crew.upgrade() {
            crew.lock().spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_lands_below_the_servers_own() {
        #[rustfmt::skip]
        let cases = [
            // server                     path             uri
            ("https://10.0.0.1:6443",     "/api/v1?a=b",   "https://10.0.0.1:6443/api/v1?a=b"),
            ("https://[::1]:6443/",       "/livez",        "https://[::1]:6443/livez"),
            ("http://proxy/clusters/a",   "/livez",        "http://proxy/clusters/a/livez"),
        ];
        for (server, path, wanted) in cases {
            assert_eq!(on(&server.parse().unwrap(), path).unwrap().to_string(), wanted);
        }
    }
}
