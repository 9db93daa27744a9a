//! Figures in Prometheus' text format, under etcd's names where dashboards look for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use store_handle::{Role, Status};

use crate::facade::{Durations, Facade};
use crate::gateway;
use crate::route::METHODS;

/// gRPC's status codes by number.
const CODES: [&str; 17] = [
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

/// What one method was asked and answered.
#[derive(Debug, Default)]
struct Calls {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

/// What is counted here; the rest is asked of the store.
#[derive(Debug)]
pub struct Metrics {
    started_unix_ms: u64,
    calls: BTreeMap<&'static str, Calls>,
    proposals_pending: AtomicI64,
    proposals_failed: AtomicU64,
    watches: AtomicI64,
    events: AtomicU64,
    leader_changes: AtomicU64,
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicI64);

impl<'a> Counted<'a> {
    fn new(of: &'a AtomicI64) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(of)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A proposal on its way.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    _counted: Counted<'a>,
    failed: &'a AtomicU64,
}

impl Pending<'_> {
    pub(crate) fn end(self, is_done: bool) {
        if !is_done {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Metrics {
    pub(crate) fn new(started_unix_ms: u64) -> Self {
        Self {
            started_unix_ms,
            calls: METHODS.iter().map(|path| (*path, Calls::default())).collect(),
            proposals_pending: AtomicI64::new(0),
            proposals_failed: AtomicU64::new(0),
            watches: AtomicI64::new(0),
            events: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
        }
    }

    pub(crate) fn started(&self, path: &str) {
        if let Some(calls) = self.calls.get(path) {
            calls.started.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn handled(&self, path: &str, code: usize) {
        if let Some(count) = self.calls.get(path).and_then(|calls| calls.handled.get(code)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn propose(&self) -> Pending<'_> {
        let _counted = Counted::new(&self.proposals_pending);
        Pending { _counted, failed: &self.proposals_failed }
    }

    pub(crate) fn watch(&self) -> Counted<'_> {
        Counted::new(&self.watches)
    }

    pub(crate) fn events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn leader_changed(&self) {
        self.leader_changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// All figures as text.
pub(crate) fn render(facade: &Facade) -> String {
    let mut text = String::new();
    let status = facade.handle.status();
    let metrics = &facade.metrics;
    let load = Ordering::Relaxed;
    let (syncs, operations) = facade.facts.syncs();
    let has_leader = u64::from(status.leader.is_some());
    let is_leader = u64::from(status.role == Role::Leader);
    let is_learner = u64::from(status.role == Role::Learner);
    let revision = u64::try_from(status.revision).unwrap_or(0);
    let compacted = u64::try_from(facade.handle.compacted()).unwrap_or(0);
    let whole = |value: &AtomicI64| u64::try_from(value.load(load)).unwrap_or(0);
    #[rustfmt::skip]
    let rows = [
        ("etcd_server_has_leader", "gauge", "Whether a leader is known.", has_leader),
        ("etcd_server_is_leader", "gauge", "Whether this member leads.", is_leader),
        ("etcd_server_is_learner", "gauge", "Whether this member has no vote.", is_learner),
        ("etcd_server_leader_changes_seen_total", "counter", "Changes of the leader seen.", metrics.leader_changes.load(load)),
        ("etcd_server_proposals_applied_total", "gauge", "The last log entry applied here.", status.applied_index),
        ("etcd_server_proposals_committed_total", "gauge", "The last log entry known to be committed here.", status.applied_index),
        ("etcd_server_proposals_pending", "gauge", "Proposals on their way.", whole(&metrics.proposals_pending)),
        ("etcd_server_proposals_failed_total", "counter", "Proposals that were refused or lost.", metrics.proposals_failed.load(load)),
        ("etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes of the state's database.", facade.facts.db_bytes()),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Bytes of it that are not deleted.", facade.facts.db_live_bytes()),
        ("etcd_server_quota_backend_bytes", "gauge", "What the database may become: the quota, or what the disk has room for.", facade.facts.db_bytes_max()),
        ("etcd_debugging_mvcc_current_revision", "gauge", "The latest revision.", revision),
        ("etcd_debugging_mvcc_compact_revision", "gauge", "The oldest revision that can be read.", compacted),
        ("etcd_debugging_mvcc_watcher_total", "gauge", "Watches of clients.", whole(&metrics.watches)),
        ("etcd_debugging_mvcc_events_total", "counter", "Events sent to clients.", metrics.events.load(load)),
        ("etcd_debugging_lease_total", "gauge", "Leases.", facade.handle.leases().len() as u64),
        ("trireme_store_log_syncs_total", "counter", "Syncs of the log.", syncs),
        ("trireme_store_log_operations_total", "counter", "Operations that these syncs made durable.", operations),
    ];
    for (name, kind, help, value) in rows {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
    versions(&mut text, facade, &status);
    durations(&mut text, facade);
    calls(&mut text, metrics);
    process(&mut text, metrics.started_unix_ms);
    text
}

/// Writing to memory cannot fail; the results are dropped.
fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn versions(text: &mut String, facade: &Facade, status: &Status) {
    let version = crate::facade::ETCD_VERSION;
    head(text, "etcd_server_version", "gauge", "The version of etcd whose API is served.");
    let _ = writeln!(text, "etcd_server_version{{server_version=\"{version}\"}} 1");
    head(text, "etcd_cluster_version", "gauge", "The same of the whole group.");
    let _ = writeln!(text, "etcd_cluster_version{{cluster_version=\"{version}\"}} 1");
    head(text, "etcd_server_id", "gauge", "This member.");
    let _ = writeln!(text, "etcd_server_id{{server_id=\"{:x}\"}} 1", facade.member_id);
    let name = "trireme_store_log_sync_p99_seconds";
    head(text, name, "gauge", "99th percentile of the log's syncs over the last minutes.");
    let _ = writeln!(text, "{name} {}", status.sync_p99_ms / 1000.0);
}

fn durations(text: &mut String, facade: &Facade) {
    let name = "etcd_disk_wal_fsync_duration_seconds";
    head(text, name, "histogram", "Syncs of the log.");
    histogram(text, name, "", &facade.facts.sync_durations());
    let name = "etcd_disk_backend_commit_duration_seconds";
    head(text, name, "histogram", "Entries applied together and written to the state's database.");
    histogram(text, name, "", &facade.facts.apply_durations());
    let name = "etcd_network_peer_round_trip_time_seconds";
    head(text, name, "histogram", "Questions to other members and their answers.");
    for (member, trips) in facade.facts.round_trips() {
        histogram(text, name, &format!("To=\"{member:x}\""), &trips);
    }
}

fn histogram(text: &mut String, name: &str, label: &str, durations: &Durations) {
    let (comma, braced) = match label {
        "" => ("", String::new()),
        _ => (",", format!("{{{label}}}")),
    };
    let mut within = 0;
    for (bound, count) in &durations.buckets {
        within += count;
        let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {within}");
    }
    let count = durations.count;
    let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum{braced} {}", durations.sum_s);
    let _ = writeln!(text, "{name}_count{braced} {count}");
}

/// What a method is, in the words of gRPC's own figures.
fn kind(path: &str) -> &'static str {
    match gateway::streams(path) {
        (true, _) => "bidi_stream",
        (false, true) => "server_stream",
        (false, false) => "unary",
    }
}

fn calls(text: &mut String, metrics: &Metrics) {
    let split = |path: &'static str| path[1..].split_once('/').unwrap_or((path, ""));
    let load = Ordering::Relaxed;
    head(text, "grpc_server_started_total", "counter", "Calls received.");
    for (path, calls) in &metrics.calls {
        let ((service, method), value) = (split(path), calls.started.load(load));
        let _ = writeln!(
            text,
            "grpc_server_started_total{{grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{}\"}} {value}",
            kind(path)
        );
    }
    head(text, "grpc_server_handled_total", "counter", "Calls answered.");
    for (path, calls) in &metrics.calls {
        let (service, method) = split(path);
        for (code, count) in CODES.iter().zip(&calls.handled) {
            let value = count.load(load);
            if value > 0 || *code == "OK" {
                let _ = writeln!(
                    text,
                    "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{}\"}} {value}",
                    kind(path)
                );
            }
        }
    }
}

/// What the operating system knows of this process.
fn process(text: &mut String, started_unix_ms: u64) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let resident_pages = read("/proc/self/statm").split(' ').nth(1).and_then(|n| n.parse().ok());
    let stat = read("/proc/self/stat");
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields.get(field).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let limits = read("/proc/self/limits");
    let open_max = limits.lines().find(|line| line.starts_with("Max open files"));
    let open_max = open_max.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let rows = [
        ("process_resident_memory_bytes", "gauge", resident_pages.unwrap_or(0_f64) * 4096.0),
        ("process_cpu_seconds_total", "counter", (ticks(12) + ticks(13)) as f64 / 100.0),
        ("process_open_fds", "gauge", open_files as f64),
        ("process_max_fds", "gauge", open_max.unwrap_or(0.0)),
        ("process_virtual_memory_bytes", "gauge", ticks(21) as f64),
        ("process_start_time_seconds", "gauge", started_unix_ms as f64 / 1000.0),
    ];
    for (name, kind, value) in rows {
        head(text, name, kind, "Of this process.");
        let _ = writeln!(text, "{name} {value}");
    }
}
