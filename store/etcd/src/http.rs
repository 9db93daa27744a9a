//! The plain questions: is it alive, can it serve, which version, which figures.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::facade::{ETCD_VERSION, Facade};
use crate::{metrics, probe};

/// An answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Answers one request that is not gRPC.
pub(crate) async fn answer(facade: Arc<Facade>, method: Method, target: http::Uri) -> Reply {
    let query = target.query().unwrap_or_default();
    match target.path() {
        path if method != Method::GET && is_for_get(path) => not_allowed(),
        "/health" => {
            let is_serializable = query.contains("serializable=true");
            let found = match alarm(&facade, query) {
                Some(reason) => Err(reason),
                None => is_well(&facade, is_serializable).await,
            };
            let (well, unwell) = (&facade.metrics.healthy, &facade.metrics.unhealthy);
            metrics::one(if found.is_ok() { well } else { unwell });
            health(found)
        }
        "/version" => {
            let version = serde_json::json!({
                "etcdserver": ETCD_VERSION, "etcdcluster": ETCD_VERSION, "storage": ETCD_VERSION,
            });
            reply(StatusCode::OK, JSON, version.to_string())
        }
        "/metrics" => reply(StatusCode::OK, METRICS, metrics::render(&facade)),
        path => match probe::answer(&facade, path, query).await {
            Some((status, text)) => reply(status, TEXT, text),
            None => not_found(),
        },
    }
}

/// What etcd answers to GET only; even a HEAD is refused.
fn is_for_get(path: &str) -> bool {
    matches!(path, "/health" | "/version") || probe::is_there(path)
}

fn not_allowed() -> Reply {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    refused.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("GET"));
    refused
}

/// Of what is not there.
pub(crate) fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Something for people to read.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, TEXT, body)
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The alarm of any member that the caller has not excluded.
fn alarm(facade: &Facade, query: &str) -> Option<&'static str> {
    let alarms = facade.alarms();
    let is_excluded = |name: &str| query.split('&').any(|part| part == format!("exclude={name}"));
    let has_no_space = alarms.values().any(|alarms| alarms.no_space);
    let is_corrupt = alarms.values().any(|alarms| alarms.is_corrupt || alarms.is_in_doubt);
    match () {
        () if has_no_space && !is_excluded("NOSPACE") => Some("ALARM NOSPACE"),
        () if is_corrupt && !is_excluded("CORRUPT") => Some("ALARM CORRUPT"),
        () => None,
    }
}

/// Why this member could not serve a read now.
async fn is_well(facade: &Facade, is_serializable: bool) -> Result<(), &'static str> {
    if is_serializable {
        return Ok(());
    }
    if facade.leadership().leader.is_none() {
        return Err("RAFT NO LEADER");
    }
    facade.read_index().await.map(drop).map_err(|_| "QGET FAILED")
}

fn health(found: Result<(), &'static str>) -> Reply {
    let (status, health) = match found {
        Ok(()) => (StatusCode::OK, "true"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "false"),
    };
    let reason = found.err().unwrap_or_default();
    let body = serde_json::json!({ "health": health, "reason": reason });
    reply(status, JSON, body.to_string())
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    reply
}
