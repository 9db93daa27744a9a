//! The way of one request: which master, how often, until when.
//!
//! # Path
//! `kube::Client` → here → `session::send`

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use kube::client::Body;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use super::body::Guarded;
use super::session::{self, Failure, Session};
use super::{Asked, Error, Inner, Token};

/// How often a master may ask for patience before its answer is handed on.
const RETRY_AFTER_MAX: u32 = 10;

/// Connections that break under one read, before it is given up.
const READ_TRIES_MAX: u32 = 5;

/// A token file is read again after this long.
const TOKEN_AGE_MAX_MS: u64 = 60_000;

/// What an answer comes through.
pub(super) type Held = (Arc<Inner>, Arc<Session>);

/// What decides how a request is treated.
struct Order {
    parts: Parts,
    body: Bytes,
    path: String,
    is_read: bool,
    is_upgrade: bool,
    /// Its answer may go on for ever.
    is_stream: bool,
    deadline: Option<Instant>,
}

/// Delivers a request to a master and hands back the head of its answer.
pub(super) async fn deliver(
    inner: Arc<Inner>,
    request: Request<Body>,
) -> Result<Response<Guarded<Held>>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let order = Order::new(parts, body, inner.config.request_timeout);
    let Some(deadline) = order.deadline else {
        return Ok(attempts(&inner, &order, &mut None).await?);
    };
    let mut put_off = None;
    match tokio::time::timeout_at(deadline, attempts(&inner, &order, &mut put_off)).await {
        Ok(outcome) => Ok(outcome?),
        // A master did answer, if only that it cannot: it says why.
        Err(_) => match put_off {
            Some((session, answer)) => Ok(guard(&inner, &order, &session, answer, None)),
            None => Err(order.late(&inner).into()),
        },
    }
}

/// Tries until there is an answer to hand on, or a failure that must not be hidden by a retry. The last answer
/// that asked for patience is left in `put_off`, as long as nothing has been sent since whose outcome is unknown.
async fn attempts(
    inner: &Arc<Inner>,
    order: &Order,
    put_off: &mut Option<(Arc<Session>, Response<Incoming>)>,
) -> Result<Response<Guarded<Held>>, Error> {
    let mut breaks = 0;
    let mut patience = 0;
    loop {
        let session = inner.session().await?;
        if !order.is_read {
            *put_off = None;
        }
        match once(inner, order, &session).await {
            Ok(answer) => match wait_asked_for(&answer, order, patience) {
                Some(wait) => {
                    patience += 1;
                    *put_off = Some((session, answer));
                    tokio::time::sleep(wait).await;
                }
                None => return Ok(guard(inner, order, &session, answer, order.deadline)),
            },
            Err(failure) => {
                inner.leave(&session);
                breaks += 1;
                if let Some(error) = order.verdict(&session.server, failure, breaks) {
                    return Err(error);
                }
            }
        }
    }
}

async fn once(
    inner: &Arc<Inner>,
    order: &Order,
    session: &Session,
) -> Result<Response<Incoming>, Failure> {
    let request = order.request(inner, &session.server).await.map_err(Failure::NotSent)?;
    if order.is_upgrade {
        return inner.dialer.fresh(&session.server, request, &inner.crew).await;
    }
    session.send(&inner.dialer, &inner.crew, request, order.given_up(session)).await
}

fn guard(
    inner: &Arc<Inner>,
    order: &Order,
    session: &Arc<Session>,
    answer: Response<Incoming>,
    until: Option<Instant>,
) -> Response<Guarded<Held>> {
    // An upgraded stream has a connection of its own, which the shared one's end says nothing about.
    let lost = match order.is_upgrade {
        true => CancellationToken::new(),
        false => order.given_up(session).clone(),
    };
    let until = if order.is_stream { None } else { until };
    let held = (inner.clone(), session.clone());
    answer.map(|body| Guarded::new(body, session.server.clone(), lost, held).until(until))
}

impl Order {
    fn new(parts: Parts, body: Bytes, timeout: Option<Duration>) -> Self {
        let path = parts.uri.path().to_owned();
        let is_upgrade = parts.headers.contains_key(UPGRADE);
        let is_read = matches!(parts.method, Method::GET | Method::HEAD) && !is_upgrade;
        let is_stream =
            is_upgrade || has_flag(&parts.uri, "watch") || has_flag(&parts.uri, "follow");
        // A delete may be asked to wait, a log may be long: only answers' heads are bounded there.
        let is_stream = is_stream || path.ends_with("/log") || path.contains("/proxy");
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        Self { parts, body, path, is_read, is_upgrade, is_stream, deadline }
    }

    async fn request(&self, inner: &Inner, server: &Uri) -> Result<Request<Full<Bytes>>, String> {
        let path = self.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.parts.method.clone();
        *request.headers_mut() = self.parts.headers.clone();
        *request.uri_mut() = session::on(server, path)?;
        inner.dress(&mut request).await?;
        Ok(request)
    }

    /// What ends the wait for this request: reads move with the client.
    fn given_up<'s>(&self, session: &'s Session) -> &'s CancellationToken {
        if self.is_read { &session.left } else { &session.lost }
    }

    /// What a failure means for the caller; `None`: try again.
    fn verdict(&self, server: &Uri, failure: Failure, breaks: u32) -> Option<Error> {
        let is_last = breaks >= READ_TRIES_MAX;
        let asked = Box::new(self.asked(server));
        match failure {
            Failure::NotSent(_) | Failure::Unknown(_) if self.is_read && !is_last => None,
            Failure::NotSent(_) if !is_last => None,
            Failure::Unknown(reason) if !self.is_read && !self.is_upgrade => {
                Some(Error::OutcomeUnknown { asked, reason })
            }
            Failure::NotSent(reason) | Failure::Unknown(reason) => {
                Some(Error::Broken { asked, reason })
            }
        }
    }

    fn asked(&self, server: &Uri) -> Asked {
        Asked { server: server.clone(), method: self.parts.method.clone(), path: self.path.clone() }
    }

    fn late(&self, inner: &Inner) -> Error {
        let current = inner.open_session().map(|session| session.server.clone());
        let server = current.unwrap_or_else(|| inner.config.servers[0].clone());
        let asked = Box::new(self.asked(&server));
        let after_s = inner.config.request_timeout.unwrap_or_default().as_secs();
        match self.is_read {
            true => Error::Deadline { asked, after_s },
            false => Error::LateWrite { asked, after_s },
        }
    }
}

/// How long the master asks to wait before the same request is sent again. It did not carry it out:
/// that is what `Retry-After` means on a 429 or 5xx of a Kubernetes API.
fn wait_asked_for(answer: &Response<Incoming>, order: &Order, patience: u32) -> Option<Duration> {
    let status = answer.status();
    let asks = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    if !asks || order.is_upgrade || patience >= RETRY_AFTER_MAX || order.path.ends_with("/eviction")
    {
        return None;
    }
    let asked_s = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok()?;
    let asked = Duration::from_secs(asked_s);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Some(asked);
    }
    // A change of leader takes tens of milliseconds: no need to wait out a whole second.
    Some(asked.min(Duration::from_millis(50 << patience.min(6))))
}

fn has_flag(uri: &Uri, name: &str) -> bool {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "=true" | "=1")))
}

impl Inner {
    /// Puts on what every request wears: the configured headers and the bearer token.
    pub(super) async fn dress(&self, request: &mut Request<Full<Bytes>>) -> Result<(), String> {
        for (name, value) in &self.config.headers {
            request.headers_mut().append(name, value.clone());
        }
        if let Some(token) = self.bearer().await?
            && !request.headers().contains_key(AUTHORIZATION)
        {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| "the token holds characters that no header may have".to_owned())?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    async fn bearer(&self) -> Result<Option<String>, String> {
        let path = match &self.config.token {
            None => return Ok(None),
            Some(Token::Fixed(token)) => return Ok(Some(token.clone())),
            Some(Token::File(path)) => path,
        };
        let now = self.config.clock.monotonic_ms();
        if let Some((read_at, token)) = self.token.lock().as_ref()
            && now < read_at + TOKEN_AGE_MAX_MS
        {
            return Ok(Some(token.clone()));
        }
        let text = tokio::fs::read_to_string(path).await;
        let token = text.map_err(|error| format!("token file {}: {error}", path.display()))?;
        let token = token.trim().to_owned();
        *self.token.lock() = Some((now, token.clone()));
        Ok(Some(token))
    }
}
