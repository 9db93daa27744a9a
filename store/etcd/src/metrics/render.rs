//! All figures in Prometheus' text format, under etcd's names where dashboards look for them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use store_handle::figures::{Counts, Exchanged};
use store_handle::{MemberId, Role, Status};

use super::Metrics;
use super::calls::{CODES, Method};
use crate::facade::Facade;
use crate::facts::{Durations, Figures};

/// A name, its kind, what it says, and its value.
type Row = (&'static str, &'static str, &'static str, u64);

/// All figures as text.
pub(crate) fn render(facade: &Facade) -> String {
    let mut text = String::new();
    let status = facade.handle.status();
    let metrics = &facade.metrics;
    let figures = facade.facts.figures();
    for rows in [&server(facade, &status)[..], &contents(facade, &status), &work(facade, &figures)]
    {
        rows.iter().for_each(|row| plain(&mut text, row));
    }
    counts(&figures.counts, load(&metrics.ranges)).iter().for_each(|row| plain(&mut text, row));
    versions(&mut text, facade, &status);
    durations(&mut text, facade);
    others(&mut text, facade, &figures);
    health(&mut text, facade);
    calls(&mut text, metrics);
    process(&mut text, metrics.started_unix_ms);
    text
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn now(gauge: &AtomicI64) -> u64 {
    u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0)
}

#[rustfmt::skip]
fn server(facade: &Facade, status: &Status) -> [Row; 13] {
    let metrics = &facade.metrics;
    [
        ("etcd_server_has_leader", "gauge", "Whether a leader is known.", status.leader.is_some().into()),
        ("etcd_server_is_leader", "gauge", "Whether this member leads.", (status.role == Role::Leader).into()),
        ("etcd_server_is_learner", "gauge", "Whether this member has no vote.", (status.role == Role::Learner).into()),
        ("etcd_server_leader_changes_seen_total", "counter", "Changes of the leader seen.", load(&metrics.leader_changes)),
        ("etcd_server_proposals_applied_total", "gauge", "The last log entry applied here.", status.applied_index),
        ("etcd_server_proposals_committed_total", "gauge", "The last log entry known to be committed here.", status.applied_index),
        ("etcd_server_proposals_pending", "gauge", "Proposals on their way.", now(&metrics.proposals_pending)),
        ("etcd_server_proposals_failed_total", "counter", "Proposals that were refused or lost.", load(&metrics.proposals_failed)),
        ("etcd_server_read_indexes_failed_total", "counter", "Rounds of read indexes that failed.", load(&metrics.reads.failed)),
        ("etcd_server_slow_read_indexes_total", "counter", "Rounds of read indexes that took longer than half a second.", load(&metrics.reads.slow)),
        ("etcd_server_learner_promote_successes", "counter", "Learners promoted because this member was asked to.", load(&metrics.promoted)),
        ("etcd_server_health_success", "counter", "Answers of /health that all is well.", load(&metrics.healthy)),
        ("etcd_server_health_failures", "counter", "Answers of /health that it is not.", load(&metrics.unhealthy)),
    ]
}

#[rustfmt::skip]
fn contents(facade: &Facade, status: &Status) -> [Row; 10] {
    let (metrics, whole) = (&facade.metrics, |number: i64| u64::try_from(number).unwrap_or(0));
    [
        ("etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes of the state's database.", facade.facts.db_bytes()),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Bytes of it that are not deleted.", facade.facts.db_live_bytes()),
        ("etcd_server_quota_backend_bytes", "gauge", "What the database may become: the quota, or what the disk has room for.", facade.facts.db_bytes_max()),
        ("etcd_debugging_mvcc_current_revision", "gauge", "The latest revision.", whole(status.revision)),
        ("etcd_debugging_mvcc_compact_revision", "gauge", "The oldest revision that can be read.", whole(facade.handle.compacted())),
        ("etcd_debugging_mvcc_watch_stream_total", "gauge", "Streams of watches.", now(&metrics.watch_streams)),
        ("etcd_debugging_mvcc_watcher_total", "gauge", "Watches of clients.", now(&metrics.watches)),
        ("etcd_debugging_mvcc_events_total", "counter", "Events sent to clients.", load(&metrics.events)),
        ("etcd_debugging_lease_total", "gauge", "Leases.", facade.handle.leases().len() as u64),
        ("etcd_debugging_auth_revision", "gauge", "There are no users and roles: it stays.", 1),
    ]
}

#[rustfmt::skip]
fn work(facade: &Facade, figures: &Figures) -> [Row; 8] {
    let (metrics, (syncs, operations)) = (&facade.metrics, facade.facts.syncs());
    let beats = figures.exchanged.values().map(|with| with.heartbeat_failures).sum();
    [
        ("trireme_store_log_syncs_total", "counter", "Syncs of the log.", syncs),
        ("trireme_store_log_operations_total", "counter", "Operations that these syncs made durable.", operations),
        ("etcd_disk_wal_write_bytes_total", "gauge", "Bytes of these operations.", figures.log_bytes),
        ("etcd_disk_defrag_inflight", "gauge", "Whether space is being given back on request.", now(&metrics.defragmenting).min(1)),
        ("etcd_network_client_grpc_received_bytes_total", "counter", "Bytes from clients over HTTP/2.", load(&metrics.traffic.received)),
        ("etcd_network_client_grpc_sent_bytes_total", "counter", "Bytes to clients over HTTP/2.", load(&metrics.traffic.sent)),
        ("etcd_server_slow_apply_total", "counter", "What came together and took longer to apply than --warning-apply-duration.", figures.slow_applies),
        ("etcd_server_heartbeat_send_failures_total", "counter", "Heartbeats that were not sent, or not answered.", beats),
    ]
}

#[rustfmt::skip]
fn counts(counts: &Counts, ranges: u64) -> [Row; 11] {
    [
        ("etcd_mvcc_range_total", "counter", "Ranges read here, in transactions too.", counts.ranges + ranges),
        ("etcd_mvcc_put_total", "counter", "Puts applied here.", counts.puts),
        ("etcd_mvcc_delete_total", "counter", "Deletions applied here, of a key or a range.", counts.deletes),
        ("etcd_mvcc_txn_total", "counter", "Transactions of more than one step applied here.", counts.txns),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", "gauge", "Bytes of keys and values that were put.", counts.put_bytes),
        ("etcd_debugging_lease_granted_total", "counter", "Leases granted.", counts.leases_granted),
        ("etcd_debugging_lease_revoked_total", "counter", "Leases that ended, expired ones too.", counts.leases_revoked),
        ("etcd_debugging_lease_renewed_total", "counter", "Leases kept alive.", counts.leases_renewed),
        ("etcd_debugging_server_lease_expired_total", "counter", "Leases that expired.", counts.leases_expired),
        ("etcd_debugging_mvcc_db_compaction_keys_total", "counter", "Records deleted after compactions.", counts.swept),
        ("etcd_debugging_mvcc_db_compaction_last", "gauge", "When that was the last time; 0 if never.", counts.swept_unix_ms / 1_000),
    ]
}

fn plain(text: &mut String, (name, kind, help, value): &Row) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
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
    let metrics = &facade.metrics;
    for (name, help, durations) in [
        ("etcd_mvcc_hash_duration_seconds", "Checksums of all there is.", &metrics.hashes),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "Checksums of all there was at a revision.",
            &metrics.hashes_at,
        ),
        (
            "etcd_disk_backend_defrag_duration_seconds",
            "Space given back on request.",
            &metrics.defragmentations,
        ),
    ] {
        head(text, name, "histogram", help);
        histogram(text, name, "", &durations.now());
    }
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

/// A figure for each of the other members: its name, its kind, what it says, the label, and the value.
type Each = (&'static str, &'static str, &'static str, &'static str, fn(&Exchanged) -> u64);

#[rustfmt::skip]
const OF_OTHERS: [Each; 8] = [
    ("etcd_network_peer_sent_bytes_total", "counter", "Bytes of messages to other members.", "To", |with| with.sent_bytes),
    ("etcd_network_peer_received_bytes_total", "counter", "Bytes of messages from other members.", "From", |with| with.received_bytes),
    ("etcd_network_peer_sent_failures_total", "counter", "Messages that were not sent, or not answered.", "To", |with| with.sent_failures),
    ("etcd_network_peer_received_failures_total", "counter", "Messages of others that broke off.", "From", |with| with.received_failures),
    ("etcd_network_snapshot_send_success", "counter", "Snapshots sent.", "To", |with| with.snapshots.sent),
    ("etcd_network_snapshot_send_failures", "counter", "Snapshots that could not be sent.", "To", |with| with.snapshots.send_failures),
    ("etcd_network_snapshot_receive_success", "counter", "Snapshots received.", "From", |with| with.snapshots.received),
    ("etcd_network_snapshot_receive_failures", "counter", "Snapshots that could not be received.", "From", |with| with.snapshots.receive_failures),
];

/// The same, with both members as its labels.
type EachPair = (&'static str, &'static str, &'static str, fn(&Exchanged) -> u64);

#[rustfmt::skip]
const OF_PAIRS: [EachPair; 2] = [
    ("etcd_network_active_peers", "gauge", "Whether another member was there when something was last exchanged.", |with| with.is_connected.into()),
    ("etcd_network_disconnected_peers_total", "counter", "How often another member was lost.", |with| with.disconnections),
];

fn others(text: &mut String, facade: &Facade, figures: &Figures) {
    let me = facade.member_id;
    for (name, kind, help, label, value) in OF_OTHERS {
        head(text, name, kind, help);
        for (member, with) in &figures.exchanged {
            let _ = writeln!(text, "{name}{{{label}=\"{member:x}\"}} {}", value(with));
        }
    }
    let pair = |member: &MemberId| format!("Local=\"{me:x}\",Remote=\"{member:x}\"");
    for (name, kind, help, value) in OF_PAIRS {
        head(text, name, kind, help);
        for (member, with) in &figures.exchanged {
            let _ = writeln!(text, "{name}{{{}}} {}", pair(member), value(with));
        }
    }
    let name = "etcd_network_known_peers";
    head(text, name, "gauge", "Members, this one too.");
    for member in facade.handle.members() {
        let _ = writeln!(text, "{name}{{{}}} 1", pair(&member.id));
    }
    let name = "etcd_debugging_server_alarms";
    head(text, name, "gauge", "Alarms that members have raised.");
    for (member, alarms) in facade.alarms() {
        let is_corrupt = alarms.is_corrupt || alarms.is_in_doubt;
        let raised = [(alarms.no_space, "NOSPACE"), (is_corrupt, "CORRUPT")];
        for (_, alarm) in raised.into_iter().filter(|(is_raised, _)| *is_raised) {
            let _ = writeln!(text, "{name}{{alarm_type=\"{alarm}\",server_id=\"{member:x}\"}} 1");
        }
    }
}

fn health(text: &mut String, facade: &Facade) {
    let name = "etcd_server_learner_promote_failures";
    head(
        text,
        name,
        "counter",
        "Learners that this member was asked to promote, and that were not.",
    );
    let refused = load(&facade.metrics.not_promoted);
    let _ = writeln!(text, "{name}{{Reason=\"not promoted\"}} {refused}");
    let run: Vec<_> = facade.metrics.checks.run().collect();
    let name = "etcd_server_healthcheck";
    head(text, name, "gauge", "What each check of a probe said last.");
    for it in &run {
        let is_well = u64::from(it.is_well);
        let _ = writeln!(text, "{name}{{name=\"{}\",type=\"{}\"}} {is_well}", it.check, it.probe);
    }
    let name = "etcd_server_healthchecks_total";
    head(text, name, "counter", "Checks of probes.");
    for it in &run {
        for (status, count) in [("success", it.well), ("error", it.failed)] {
            let (check, probe) = (it.check, it.probe);
            let _ = writeln!(
                text,
                "{name}{{name=\"{check}\",status=\"{status}\",type=\"{probe}\"}} {count}"
            );
        }
    }
}

/// A figure for each method: its name, what it says, and the value.
type OfMethods = (&'static str, &'static str, fn(&Method) -> u64);

const OF_METHODS: [OfMethods; 3] = [
    ("grpc_server_started_total", "Calls received.", Method::started),
    ("grpc_server_msg_received_total", "Messages received.", Method::messages_received),
    ("grpc_server_msg_sent_total", "Messages sent.", Method::messages_sent),
];

fn calls(text: &mut String, metrics: &Metrics) {
    let methods = metrics.calls.methods();
    let labels = |method: &Method| {
        let (service, name) = method.path[1..].split_once('/').unwrap_or((method.path, ""));
        let kind = method.kind.name();
        format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
    };
    for (name, help, value) in OF_METHODS {
        head(text, name, "counter", help);
        for method in methods {
            let _ = writeln!(text, "{name}{{{}}} {}", labels(method), value(method));
        }
    }
    let name = "grpc_server_handled_total";
    head(text, name, "counter", "Calls answered; streams when they end.");
    for method in methods {
        for (code, named) in CODES.iter().enumerate() {
            let value = method.handled(code);
            if value > 0 || *named == "OK" {
                let labels = labels(method);
                let _ = writeln!(text, "{name}{{grpc_code=\"{named}\",{labels}}} {value}");
            }
        }
    }
    let name = "grpc_server_handling_seconds";
    let mut timed = methods.iter().filter_map(|it| Some((it, it.took.as_ref()?))).peekable();
    if timed.peek().is_some() {
        head(text, name, "histogram", "How long calls took.");
    }
    timed.for_each(|(method, took)| histogram(text, name, &labels(method), &took.now()));
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
        ("os_fd_used", "gauge", open_files as f64),
        ("os_fd_limit", "gauge", open_max.unwrap_or(0.0)),
        ("process_max_fds", "gauge", open_max.unwrap_or(0.0)),
        ("process_virtual_memory_bytes", "gauge", ticks(21) as f64),
        ("process_start_time_seconds", "gauge", started_unix_ms as f64 / 1000.0),
    ];
    for (name, kind, value) in rows {
        head(text, name, kind, "Of this process.");
        let _ = writeln!(text, "{name} {value}");
    }
}
