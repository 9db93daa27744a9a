//! A client that knows every master, keeps to one, and moves within a second when that one fails.
//!
//! There is no load balancer and no virtual address in front of the masters; this is what stands in
//! for them, below `kube::Client`.
//!
//! # Path
//! `kube::Api` → `kube::Client` → here ([`deliver`]) → `session` → TLS → a master
//!
//! # Invariants
//! - A write is sent again only when it is certain that no master has carried it out.
//! - Once a master is given up, nothing waits for it any more: answers under way end with an error.

mod body;
mod deliver;
mod error;
mod keeper;
mod session;
#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, Request, Response, Uri};
use kube::client::Body;
use parking_lot::Mutex;
use store_env::clock::{SharedClock, SystemClock};
use store_env::net::SharedNetwork;
use store_env::rng;
use store_env::task::Crew;

use self::body::Guarded;
pub use self::error::{Asked, Error};
use self::session::{DIAL_TIMEOUT, Dialer, Session};

/// How long a master may take to answer before the next one is asked at the same time.
const STAGGER: Duration = Duration::from_millis(300);

/// How long a master may take to say that it is ready; the slower ones are taken only if none is faster.
const READY_WITHIN: Duration = Duration::from_millis(500);

/// What a client needs to know of its cluster.
#[derive(Clone, Debug)]
pub struct MastersConfig {
    /// Every master known; the first is tried first unless `spread`.
    pub servers: Vec<Uri>,
    /// PEM of the cluster's CA. `None`: the CAs that the machine trusts.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate and key to show.
    pub identity: Option<ClientIdentity>,
    /// Bearer token to send.
    pub token: Option<Token>,
    /// Further headers of every request, such as `Impersonate-User`.
    pub headers: HeaderMap,
    /// Name that a master's certificate must carry, instead of the host of its URL.
    pub server_name: Option<String>,
    /// Believe any server certificate.
    pub insecure: bool,
    /// Where [`kube::Api::default_namespaced`] points.
    pub default_namespace: String,
    /// Bound of every request that does not stream. `None`: no bound.
    pub request_timeout: Option<Duration>,
    /// How often the master in use is asked whether it lives, and how long it may take to say so.
    pub ping_every: Duration,
    /// Learn further masters from the endpoints of `default/kubernetes`.
    pub refresh: bool,
    /// How often they are read.
    pub refresh_every: Duration,
    /// Start with a random master, so that many clients do not all sit on the first.
    pub spread: bool,
    /// What a token file's age is measured by.
    pub clock: SharedClock,
    /// What masters are reached through instead of TCP and TLS; it vouches for both ends. A simulation's.
    pub network: Option<SharedNetwork>,
}

/// A client certificate (with its chain) and its key, in PEM.
#[derive(Clone)]
pub struct ClientIdentity {
    pub cert_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

/// A bearer token, or the file that is read again each minute because its content rotates.
#[derive(Clone)]
pub enum Token {
    Fixed(String),
    File(PathBuf),
}

impl MastersConfig {
    /// The usual settings, for these masters.
    pub fn new(servers: Vec<Uri>) -> Self {
        Self {
            servers,
            ca_pem: None,
            identity: None,
            token: None,
            headers: HeaderMap::new(),
            server_name: None,
            insecure: false,
            default_namespace: "default".into(),
            request_timeout: Some(Duration::from_secs(60)),
            ping_every: Duration::from_millis(500),
            refresh: false,
            refresh_every: Duration::from_secs(30),
            spread: false,
            clock: SystemClock::shared(),
            network: None,
        }
    }
}

/// The masters as a client sees them now.
#[derive(Clone, Debug)]
pub struct Masters {
    inner: Arc<Inner>,
}

/// A client over all masters. Must be called inside a tokio runtime; connects with the first request.
pub fn connect(config: MastersConfig) -> Result<kube::Client, Error> {
    connect_with_handle(config).map(|(client, _)| client)
}

/// As [`connect`], with a handle that tells which master is in use.
pub fn connect_with_handle(config: MastersConfig) -> Result<(kube::Client, Masters), Error> {
    let inner = Inner::new(config)?;
    inner.crew.lock().spawn(keeper::keep(Arc::downgrade(&inner)));
    let masters = Masters { inner };
    let client = kube::Client::new(
        Service { inner: masters.inner.clone() },
        masters.inner.config.default_namespace.clone(),
    );
    Ok((client, masters))
}

impl Masters {
    /// The master in use, if a connection is up.
    pub fn current(&self) -> Option<Uri> {
        self.inner.open_session().map(|session| session.server.clone())
    }

    /// Every master known: the configured ones, then those learnt.
    pub fn list(&self) -> Vec<Uri> {
        self.inner.state.lock().servers.clone()
    }
}

#[derive(Debug)]
struct Inner {
    config: MastersConfig,
    dialer: Dialer,
    state: Mutex<State>,
    /// One attempt to connect at a time; the others wait for its outcome.
    connecting: tokio::sync::Mutex<()>,
    crew: Mutex<Crew>,
    token: Mutex<Option<(u64, String)>>,
}

#[derive(Debug)]
struct State {
    servers: Vec<Uri>,
    /// Where in `servers` the next attempt starts.
    first: usize,
    current: Option<Arc<Session>>,
}

impl Inner {
    fn new(config: MastersConfig) -> Result<Arc<Self>, Error> {
        if config.servers.is_empty() {
            return Err(Error::NoServers);
        }
        for server in &config.servers {
            check_server(server)?;
        }
        let dialer = Dialer {
            tls: tls::build(&config)?,
            server_name: config.server_name.clone(),
            network: config.network.clone(),
        };
        let count = config.servers.len();
        let draw = usize::try_from(rng::draw() % 1024).unwrap_or_default();
        let first = if config.spread { draw % count } else { 0 };
        let state = State { servers: config.servers.clone(), first, current: None };
        Ok(Arc::new(Self {
            config,
            dialer,
            state: Mutex::new(state),
            connecting: tokio::sync::Mutex::new(()),
            crew: Mutex::new(Crew::new()),
            token: Mutex::new(None),
        }))
    }

    fn open_session(&self) -> Option<Arc<Session>> {
        self.state.lock().current.clone().filter(|session| session.is_open())
    }

    /// The connection in use, or a new one to the first master that answers.
    async fn session(&self) -> Result<Arc<Session>, Error> {
        if let Some(session) = self.open_session() {
            return Ok(session);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(session) = self.open_session() {
            return Ok(session);
        }
        let session =
            self.race(self.candidates()).await.map_err(|tried| Error::Unreachable { tried })?;
        Ok(self.install(session))
    }

    /// All masters, the preferred one first.
    fn candidates(&self) -> Vec<Uri> {
        let state = self.state.lock();
        let mut servers = state.servers.clone();
        servers.rotate_left(state.first % state.servers.len().max(1));
        servers
    }

    /// Connects to the candidates, each a little after the one before it or as soon as that failed;
    /// the first that says it is well wins. One that answers and is unwell is better than none.
    async fn race(&self, candidates: Vec<Uri>) -> Result<Session, Vec<(Uri, String)>> {
        let mut waiting = candidates.into_iter();
        let mut trying = FuturesUnordered::new();
        let mut failed = Vec::new();
        let mut unwell = None;
        trying.extend(waiting.next().map(|server| self.attempt(server)));
        loop {
            tokio::select! {
                // An outcome before a further attempt.
                biased;
                ended = trying.next() => match ended {
                    None => return unwell.ok_or(failed),
                    Some((_, Ok((session, Ok(()))))) => return Ok(session),
                    Some((server, Ok((session, Err(reason))))) => {
                        unwell.get_or_insert(session);
                        failed.push((server, reason));
                        trying.extend(waiting.next().map(|server| self.attempt(server)));
                    }
                    Some((server, Err(reason))) => {
                        failed.push((server, reason));
                        trying.extend(waiting.next().map(|server| self.attempt(server)));
                    }
                },
                () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {
                    trying.extend(waiting.next().map(|server| self.attempt(server)));
                }
            }
        }
    }

    /// A connection to one master and whether it is well, or why there is none.
    async fn attempt(&self, server: Uri) -> (Uri, Result<(Session, Result<(), String>), String>) {
        let outcome = tokio::time::timeout(DIAL_TIMEOUT, async {
            let session = self.dialer.session(&server).await?;
            let ready = session.probe(session::READY, &self.dialer, &self.crew);
            let health = match tokio::time::timeout(READY_WITHIN, ready).await {
                Ok(health) => health,
                Err(_) => {
                    session.probe(session::LIVE, &self.dialer, &self.crew).await?;
                    Err("it lives, but is not ready".into())
                }
            };
            match health {
                Err(reason) if !session.is_open() => Err(reason),
                health => Ok((session, health)),
            }
        });
        let outcome = outcome.await.unwrap_or_else(|_| Err(session::silent(DIAL_TIMEOUT)));
        (server, outcome)
    }

    fn install(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        let mut state = self.state.lock();
        tracing::debug!(server = %session.server, "using this master");
        let place = state.servers.iter().position(|server| *server == session.server);
        state.first = place.unwrap_or_default();
        state.current = Some(session.clone());
        session
    }

    /// Stops putting requests on `session`; the next attempt starts with the master after it.
    /// Answers under way may still come to their end.
    fn leave(&self, session: &Arc<Session>) {
        let mut state = self.state.lock();
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            state.current = None;
            state.first = (state.first + 1) % state.servers.len().max(1);
        }
    }
}

fn check_server(server: &Uri) -> Result<(), Error> {
    let bad = |reason: &str| Error::BadServer { server: server.to_string(), reason: reason.into() };
    match (server.scheme_str(), server.host()) {
        (Some("https" | "http"), Some(_)) => Ok(()),
        (Some("https" | "http"), None) => Err(bad("it names no host")),
        _ => Err(bad("it must start with https://")),
    }
}

/// What `kube::Client` sends its requests through.
#[derive(Clone)]
struct Service {
    inner: Arc<Inner>,
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Guarded<deliver::Held>>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(deliver::deliver(self.inner.clone(), request))
    }
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(…)")
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("Fixed(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
