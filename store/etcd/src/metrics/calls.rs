//! Calls of gRPC, counted as Go's interceptors for Prometheus count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use tokio::time::Instant;

use super::histogram::Histogram;
use super::one;
use crate::facade::Facade;
use crate::gateway;
use crate::route::METHODS;

/// gRPC's status codes by number.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

const OK: usize = 0;
const CANCELED: usize = 1;
const UNKNOWN: usize = 2;

/// Upper bounds of how long calls take, as Go's library has them.
const BOUNDS_S: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Methods of gRPC's own health service.
const OF_HEALTH: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// All methods that are counted.
fn paths() -> impl Iterator<Item = &'static str> {
    METHODS.iter().chain(&OF_HEALTH).copied()
}

/// What a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    BidiStream,
}

impl Kind {
    fn of(path: &str) -> Self {
        match gateway::streams(path) {
            (true, _) => Self::BidiStream,
            (false, true) => Self::ServerStream,
            (false, false) => Self::Unary,
        }
    }

    /// In the words of gRPC's own figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// What one method was asked and answered.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    /// Messages on streams.
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// How long calls took, if somebody wants to know.
    pub(crate) took: Option<Histogram>,
}

impl Method {
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn handled(&self, code: usize) -> u64 {
        self.handled[code].load(Ordering::Relaxed)
    }

    /// Messages of clients: a call that is not a stream of them has one.
    pub(crate) fn messages_received(&self) -> u64 {
        match self.kind {
            Kind::Unary | Kind::ServerStream => self.started(),
            Kind::BidiStream => self.received.load(Ordering::Relaxed),
        }
    }

    /// Messages to clients: a refusal is none.
    pub(crate) fn messages_sent(&self) -> u64 {
        match self.kind {
            Kind::Unary => self.handled(OK),
            Kind::ServerStream | Kind::BidiStream => self.sent.load(Ordering::Relaxed),
        }
    }
}

/// All methods, in the order of [`paths`].
#[derive(Debug)]
pub(crate) struct Calls(Vec<Method>);

impl Calls {
    pub(crate) fn new(times_calls: bool) -> Self {
        let method = |path| Method {
            path,
            kind: Kind::of(path),
            started: AtomicU64::new(0),
            handled: Default::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            took: times_calls.then(|| Histogram::new(BOUNDS_S.to_vec())),
        };
        Self(paths().map(method).collect())
    }

    pub(crate) fn methods(&self) -> &[Method] {
        &self.0
    }
}

/// A call that goes on; one that is dropped was cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    facade: Arc<Facade>,
    method: usize,
    started: Option<Instant>,
    has_ended: bool,
}

impl Call {
    /// Counts a call that begins; none of a method that is not known.
    pub(crate) fn start(facade: &Arc<Facade>, path: &str) -> Option<Self> {
        let method = paths().position(|known| known == path)?;
        let counted = &facade.metrics.calls.0[method];
        one(&counted.started);
        let is_timed = counted.took.is_some() || facade.options.slow_call.is_some();
        let started = is_timed.then(Instant::now);
        Some(Self { facade: facade.clone(), method, started, has_ended: false })
    }

    pub(crate) fn method(&self) -> &Method {
        &self.facade.metrics.calls.0[self.method]
    }

    /// The one whose messages are counted too.
    pub(crate) fn shared(&self) -> (Arc<Facade>, usize) {
        (self.facade.clone(), self.method)
    }

    /// Counts it as answered, if these headers or trailers say with what.
    pub(crate) fn end_if_said(&mut self, headers: &HeaderMap) -> bool {
        let said = headers.get("grpc-status");
        let code = said.and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok());
        if said.is_some() {
            self.end(code.filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN));
        }
        said.is_some()
    }

    /// Counts it as answered well.
    pub(crate) fn end_well(&mut self) {
        self.end(OK);
    }

    /// Counts it as broken off on our side.
    pub(crate) fn break_off(&mut self) {
        self.end(UNKNOWN);
    }

    fn end(&mut self, code: usize) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let method = self.method();
        one(&method.handled[code]);
        let Some(took) = self.started.map(|started| started.elapsed()) else { return };
        if let Some(histogram) = &method.took {
            histogram.note(took);
        }
        let is_slow = self.facade.options.slow_call.is_some_and(|max| took > max);
        if is_slow && method.kind == Kind::Unary {
            tracing::warn!(method = method.path, ?took, code = CODES[code], "a call took long");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CANCELED);
    }
}
