//! Whether this master lives and is ready, what version it is, and what it counts.

use std::time::Duration;

use http::StatusCode;
use master_api::access::Reader as _;
use serde_json::json;

use crate::call::{Call, Response};
use crate::content::Output;
use crate::metrics::{gauge_line, head, line};
use crate::respond;
use crate::server::Server;

/// What this server says it is compatible with.
pub const VERSION: &str = "v1.36.0+trireme";
/// How long a probe waits for the store.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// One thing that is looked at: its name, and what is wrong with it.
type Check = (&'static str, Result<(), String>);

/// Answers `/livez`, `/readyz` and `/healthz`, with `?verbose`, `?exclude=` and a path per check.
pub async fn run(server: &Server, call: &Call) -> Response {
    let mut parts = call.raw_path.trim_matches('/').splitn(2, '/');
    let kind = parts.next().unwrap_or("livez");
    let only = parts.next();
    let mut checks: Vec<Check> = vec![("ping", Ok(())), ("log", Ok(()))];
    if kind != "livez" {
        checks.push(("cacher", cacher(server)));
        checks.push(("store", store(server).await));
    }
    if kind == "readyz" {
        let draining = server.draining.is_cancelled();
        checks.push(("poststarthook/bootstrap", bootstrapped(server)));
        checks.push(("shutdown", if draining { Err("stopping".into()) } else { Ok(()) }));
    }
    if let Some(only) = only {
        // What stands behind this server is called so elsewhere.
        let only = if only == "etcd" { "store" } else { only };
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return respond::text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
    }
    checks.retain(|(name, _)| !call.query.all("exclude").any(|excluded| excluded == *name));
    report(kind, &checks, call.query.flag("verbose"))
}

fn report(kind: &str, checks: &[Check], verbose: bool) -> Response {
    let failed = checks.iter().any(|(_, outcome)| outcome.is_err());
    if !failed && !verbose {
        return respond::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (name, outcome) in checks {
        match outcome {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => text.push_str(&format!("[-]{name} failed: {reason}\n")),
        }
    }
    let verdict = if failed { "failed" } else { "passed" };
    text.push_str(&format!("{kind} check {verdict}\n"));
    let code = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    respond::text(code, text)
}

fn cacher(server: &Server) -> Result<(), String> {
    if server.cacher.revision() > 0 { Ok(()) } else { Err("still reading the store".into()) }
}

/// Whether the objects that every cluster has are there; the DNS service is made last.
fn bootstrapped(server: &Server) -> Result<(), String> {
    match server.cacher.get("", "services", "kube-system", "kube-dns") {
        Some(_) => Ok(()),
        None => Err("the cluster's first objects are still being created".into()),
    }
}

/// Whether a quorum answers.
pub(crate) async fn store(server: &Server) -> Result<(), String> {
    match tokio::time::timeout(PROBE_MAX, server.storage.read_index()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no quorum in time".into()),
    }
}

/// Answers `/version`.
pub fn version(_call: &Call) -> Response {
    let version = json!({
        "major": "1", "minor": "36", "gitVersion": VERSION,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "rust", "compiler": "rustc", "platform": platform(),
        "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    });
    respond::value(StatusCode::OK, Output { pretty: true, ..Output::default() }, &version)
}

fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

/// Answers `/metrics`.
pub fn metrics(server: &Server) -> Response {
    let mut text = server.metrics.render();
    let leads = server.handle.leadership().borrow().leads;
    let revision = server.handle.revision();
    gauge_line(&mut text, "trireme_store_revision", "The revision applied here.", revision);
    let cached = server.cacher.revision();
    gauge_line(&mut text, "trireme_cacher_revision", "The revision of the cache.", cached);
    head(&mut text, "trireme_leader", "gauge", "Whether this master leads.");
    line(
        &mut text,
        "trireme_leader",
        &format!("name=\"{}\"", server.master_name),
        &u8::from(leads),
    );
    head(&mut text, "apiserver_storage_objects", "gauge", "Objects of each resource.");
    let counts = server.cacher.counts();
    for (table, objects, _) in &counts {
        line(&mut text, "apiserver_storage_objects", &format!("resource=\"{table}\""), objects);
    }
    head(&mut text, "apiserver_registered_watchers", "gauge", "Watchers of each resource.");
    for (table, _, watchers) in counts.iter().filter(|(_, _, watchers)| *watchers > 0) {
        line(
            &mut text,
            "apiserver_registered_watchers",
            &format!("resource=\"{table}\""),
            watchers,
        );
    }
    respond::text(StatusCode::OK, text)
}
