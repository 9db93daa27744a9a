//! How clients are met: over which protocol, for how long, and who may ask over plain HTTP.
//!
//! # Path
//! [`crate::route`] → here → [`crate::gateway`] or [`crate::http`]

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tonic::body::Body;

use crate::gateway;
use crate::http::{self as plain, not_found, text};
use crate::route::Routes;

/// As etcd: a client that is silent for so long is asked whether it is there, and then given so long.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2 * 3600);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls under way on one connection. etcd has no bound; this one is never met by a sane client.
pub const STREAMS_MAX: u32 = 100_000;

/// What pages of other origins may do, as etcd says it.
const FOR_PAGES: [(HeaderName, &str); 2] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
];

/// How clients are met.
#[derive(Clone, Debug)]
pub struct Front {
    /// Whether the API is served as JSON, too.
    pub has_gateway: bool,
    /// Whose pages may ask.
    pub origins: Names,
    /// Names of this machine that may be asked for without TLS.
    pub hosts: Names,
    /// Calls under way on one connection, at most.
    pub streams_max: u32,
    /// How often a silent client is asked whether it is there.
    pub keep_alive_every: Option<Duration>,
    /// How long it may take to answer.
    pub keep_alive_timeout: Duration,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            has_gateway: true,
            origins: Names::All,
            hosts: Names::All,
            streams_max: STREAMS_MAX,
            keep_alive_every: Some(KEEP_ALIVE_EVERY),
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
        }
    }
}

/// Names that are let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    All,
    These(Vec<String>),
}

impl Names {
    /// `NAME,...`; nothing and `*` are all.
    pub fn parse(text: &str) -> Self {
        let all: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        match all.is_empty() || all.contains(&"*") {
            true => Self::All,
            false => Self::These(all.into_iter().map(str::to_owned).collect()),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|known| known == name),
        }
    }
}

/// What is served where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    All,
    Grpc,
    Http,
}

/// Where clients come in.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub is_secure: bool,
    pub serves: Serves,
}

impl Front {
    /// Which origin the answer is for.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins == Names::All {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(header::ORIGIN)?;
        self.origins.has(origin.to_str().ok()?).then(|| origin.clone())
    }
}

/// The name that a request is for, without its port.
fn host_of<B>(request: &Request<B>) -> String {
    let said = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = said.or_else(|| request.uri().authority().map(|it| it.as_str())).unwrap_or_default();
    let named = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = named.map_or(host, |(name, _)| name);
    name.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Answers one request that is not gRPC.
pub(crate) async fn answer(routes: Routes, request: Request<Incoming>) -> Response<Body> {
    let facade = routes.facade.clone();
    let (door, front) = (routes.door, &facade.options.front);
    let host = host_of(&request);
    if !door.is_secure && !front.hosts.has(&host) {
        let reason = format!(
            "the host {host:?} is not served without TLS: use https, or add it to --host-whitelist\n"
        );
        return text(StatusCode::MISDIRECTED_REQUEST, reason).map(Body::new);
    }
    let origin = front.origin(request.headers());
    let mut answer = match () {
        () if door.serves == Serves::Grpc => not_found().map(Body::new),
        () if request.method() == Method::OPTIONS => {
            Response::new(Body::new(Full::new(Bytes::new())))
        }
        () if front.has_gateway && gateway::is_path(request.uri().path()) => {
            gateway::answer(routes, request).await
        }
        () => {
            let (method, target) = (request.method().clone(), request.uri().clone());
            plain::answer(facade.clone(), method, target).await.map(Body::new)
        }
    };
    if let Some(origin) = origin {
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in FOR_PAGES {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_by_their_names() {
        for (said, expected) in [
            ("localhost:2379", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:2379", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            let request = Request::builder().header(header::HOST, said).body(()).unwrap();
            assert_eq!(host_of(&request), expected);
        }
    }

    #[test]
    fn names_are_all_or_these() {
        assert_eq!(Names::parse(""), Names::All);
        assert_eq!(Names::parse("a,*"), Names::All);
        let these = Names::parse("http://a, http://b");
        assert!(these.has("http://b") && !these.has("http://c"));
    }

    #[test]
    fn an_origin_is_named_if_not_all_are_allowed() {
        let front = |origins| Front { origins: Names::parse(origins), ..Front::default() };
        let headers =
            HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("http://a"))]);
        assert_eq!(front("*").origin(&headers).unwrap(), "*");
        assert_eq!(front("http://a,http://b").origin(&headers).unwrap(), "http://a");
        assert_eq!(front("http://b").origin(&headers), None);
    }
}
