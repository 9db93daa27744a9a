//! The plain questions over HTTP/1, on the port of the clients.

use std::io::Read;
use std::process::Command;

use etcd_client::{Txn, TxnOp};
use tempfile::TempDir;

use crate::cluster::{Cluster, Member, connect, eventually, initial, is_etcd};

/// The status and body of an answer.
fn get(endpoint: &str, path: &str) -> (String, String) {
    let url = format!("http://{endpoint}{path}");
    let output = Command::new("curl").args(["-s", "-w", "\n%{http_code}", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn health_version_and_metrics_are_served() {
    let mut cluster = Cluster::start(3).await;
    let endpoint = cluster.members[0].endpoint();
    cluster.client_of(0).await.put("k", "v", None).await.unwrap();
    let (status, body) = get(&endpoint, "/health");
    assert_eq!(status, "200");
    assert!(body.starts_with(r#"{"health":"true""#), "{body}");
    let (_, body) = get(&endpoint, "/version");
    assert!(body.contains(r#""etcdserver":"3."#) && body.contains("etcdcluster"), "{body}");
    let (_, figures) = get(&endpoint, "/metrics");
    for name in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader ",
        "etcd_server_leader_changes_seen_total ",
        "etcd_server_proposals_applied_total ",
        "etcd_server_proposals_committed_total ",
        "etcd_server_proposals_failed_total 0",
        "etcd_server_proposals_pending 0",
        "etcd_mvcc_db_total_size_in_bytes ",
        "etcd_mvcc_db_total_size_in_use_in_bytes ",
        "etcd_server_quota_backend_bytes ",
        r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} "#,
        r#"etcd_disk_wal_fsync_duration_seconds_bucket{le="8.192"} "#,
        r#"etcd_disk_backend_commit_duration_seconds_bucket{le="0.001"} "#,
        "process_resident_memory_bytes ",
        "process_virtual_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} "#,
    ] {
        assert!(figures.contains(name), "{name} is missing");
    }
    if is_etcd() {
        // There it takes half a minute until others have been asked.
        return;
    }
    eventually("the others were asked", async || {
        get(&endpoint, "/metrics")
            .1
            .matches("etcd_network_peer_round_trip_time_seconds_count{To=")
            .count()
            == 2
    })
    .await;
    let live = "[+]serializable_read ok\n";
    let ready = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                 [+]non_learner ok\n";
    for (path, text) in [
        ("/readyz", ""),
        ("/livez", ""),
        ("/livez?verbose", live),
        ("/readyz?verbose", ready),
        ("/readyz/serializable_read", ""),
    ] {
        assert_eq!(get(&endpoint, path), ("200".into(), format!("{text}ok\n")), "{path}");
    }
    assert_eq!(get(&endpoint, "/nothing").0, "404");
    assert_eq!(get(&endpoint, "/livez/linearizable_read").0, "404");
    assert!(get(&endpoint, "/version").1.contains("storage"));
    // Without a quorum it is alive and not ready.
    cluster.members[1].kill();
    cluster.members[2].kill();
    assert_eq!(get(&endpoint, "/livez").0, "200");
    let (status, body) = get(&endpoint, "/readyz?verbose");
    assert_eq!(status, "503");
    assert!(body.contains("[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read"));
    let (status, body) = get(&endpoint, "/health");
    assert_eq!(status, "503");
    assert!(body.contains(r#""health":"false""#), "{body}");
}

/// The sum of a figure over all its labels that hold `labels`; none if it is not there.
fn figure(endpoint: &str, name: &str, labels: &str) -> Option<f64> {
    let (_, figures) = get(endpoint, "/metrics");
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (found, value) = rest.rsplit_once(' ')?;
        let is_it = found.is_empty() || found.starts_with('{');
        (is_it && found.contains(labels)).then(|| value.parse::<f64>().unwrap())
    };
    figures.lines().filter_map(value).reduce(|sum, value| sum + value)
}

#[tokio::test]
async fn figures_count_what_clients_and_members_do() {
    let cluster = Cluster::start_with(3, &["--metrics=extensive"]).await;
    let leader = cluster.leader().await;
    let endpoint = cluster.members[leader].endpoint();
    let mut client = cluster.client_of(leader).await;
    let count = |name: &str, labels: &str| figure(&endpoint, name, labels).unwrap_or(-1.0);
    let before = |names: &[&str]| names.iter().map(|name| count(name, "")).collect::<Vec<_>>();
    let names = ["etcd_mvcc_put_total", "etcd_mvcc_delete_total", "etcd_mvcc_txn_total"];
    let were = before(&names);
    let leases =
        ["granted", "revoked", "renewed"].map(|it| format!("etcd_debugging_lease_{it}_total"));
    let leases_were = leases.each_ref().map(|name| count(name, ""));
    client.put("k", "v", None).await.unwrap();
    let both = [TxnOp::put("k", "w", None), TxnOp::delete("k", None)];
    client.txn(Txn::new().and_then(&both[..1])).await.unwrap();
    client.txn(Txn::new().and_then([TxnOp::put("l", "w", None), both[1].clone()])).await.unwrap();
    let ranges = count("etcd_mvcc_range_total", "");
    client.get("k", None).await.unwrap();
    assert_eq!(count("etcd_mvcc_range_total", ""), ranges + 1.0);
    let grown: Vec<_> = before(&names).iter().zip(&were).map(|(now, was)| now - was).collect();
    assert_eq!(grown, [3.0, 1.0, 1.0], "{names:?}");
    let lease = client.lease_grant(60, None).await.unwrap().id();
    // It asks once when it begins, and waits for the answer.
    drop(client.lease_keep_alive(lease).await.unwrap());
    client.lease_revoke(lease).await.unwrap();
    for (name, was) in leases.iter().zip(leases_were) {
        assert_eq!(count(name, ""), was + 1.0, "{name}");
    }
    for (name, labels) in [
        ("etcd_network_client_grpc_received_bytes_total", ""),
        ("etcd_network_client_grpc_sent_bytes_total", ""),
        ("etcd_network_peer_sent_bytes_total", "To="),
        ("etcd_network_peer_received_bytes_total", "From="),
        ("etcd_disk_wal_write_bytes_total", ""),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", ""),
        ("grpc_server_handling_seconds_count", "Put"),
        ("grpc_server_msg_received_total", "\"Put\""),
        ("grpc_server_msg_sent_total", "\"Put\""),
    ] {
        assert!(count(name, labels) > 0.0, "{name}");
    }
    assert_eq!(count("etcd_network_known_peers", "Local="), 3.0);
    let text = get(&endpoint, "/metrics").1;
    for name in [
        "etcd_server_slow_apply_total ",
        "etcd_server_slow_read_indexes_total ",
        "etcd_server_read_indexes_failed_total ",
        "etcd_server_heartbeat_send_failures_total ",
        "etcd_server_health_success ",
        "etcd_server_health_failures ",
        "etcd_mvcc_hash_duration_seconds_count ",
        "etcd_mvcc_hash_rev_duration_seconds_count ",
        "etcd_disk_backend_defrag_duration_seconds_count ",
        "etcd_disk_defrag_inflight 0",
        "etcd_debugging_server_lease_expired_total ",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name} is missing");
    }
}

#[tokio::test]
async fn streams_are_handled_when_they_end_and_lost_members_are_counted() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let endpoint = cluster.members[leader].endpoint();
    let mut client = cluster.client_of(leader).await;
    let count = |name: &str, labels: &str| figure(&endpoint, name, labels).unwrap_or(-1.0);
    // A stream goes on until it has been handled; what it says is counted.
    let open = || {
        let (started, handled) = ("grpc_server_started_total", "grpc_server_handled_total");
        let watches = "\"etcdserverpb.Watch\"";
        count(started, watches) - count(handled, watches)
    };
    let sent = || count("grpc_server_msg_sent_total", "\"etcdserverpb.Watch\"");
    let (before, sent_before) = (open(), sent());
    let mut watch = client.watch("w", None).await.unwrap();
    client.put("w", "1", None).await.unwrap();
    while watch.message().await.unwrap().unwrap().events().is_empty() {}
    assert_eq!((open(), sent()), (before + 1.0, sent_before + 2.0));
    assert!(count("etcd_debugging_mvcc_watch_stream_total", "") >= 1.0);
    drop((watch, client));
    eventually("the watch has been handled", async || open() == before).await;
    // A member that is gone is not reached.
    let failures = || count("etcd_network_peer_sent_failures_total", "To=");
    let (failed, other) = (failures(), (leader + 1) % 3);
    cluster.members[other].kill();
    eventually("it is missed", async || {
        let lost = count("etcd_network_disconnected_peers_total", "Remote=");
        failures() > failed.max(0.0) && lost >= 1.0
    })
    .await;
}

#[tokio::test]
async fn probes_and_health_are_counted() {
    let cluster = Cluster::start(1).await;
    let endpoint = cluster.members[0].endpoint();
    let count = |name: &str, labels: &str| figure(&endpoint, name, labels).unwrap_or(0.0);
    let was = count("etcd_server_health_success", "");
    get(&endpoint, "/health");
    assert_eq!(count("etcd_server_health_success", ""), was + 1.0);
    if is_etcd() && !get(&endpoint, "/version").1.contains("3.6") {
        return;
    }
    let labels = r#"{name="serializable_read",status="success",type="livez"}"#;
    let was = count("etcd_server_healthchecks_total", labels);
    get(&endpoint, "/livez");
    assert_eq!(count("etcd_server_healthchecks_total", labels), was + 1.0);
    let labels = r#"{name="serializable_read",type="livez"}"#;
    assert_eq!(count("etcd_server_healthcheck", labels), 1.0);
}

/// As with `kstore 2>&1 | head -1`.
#[tokio::test]
async fn a_log_that_nobody_reads_any_more_stops_nobody() {
    if is_etcd() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut member = Member::new("m1");
    let founders = initial(std::slice::from_ref(&member));
    member.flags(&dir, &founders, "new");
    member.set("--log-level", "info");
    let (mut log, writer) = std::io::pipe().unwrap();
    member.start_with_log(writer.try_clone().unwrap(), writer);
    log.read_exact(&mut [0]).unwrap();
    drop(log);
    let mut client = connect(&[member.endpoint()]).await;
    eventually("it serves", async || client.put("k", "v", None).await.is_ok()).await;
    // It says that it stops, to nobody.
    assert!(member.asked_to_stop());
    let mut ended_well = None;
    eventually("it has ended", async || {
        ended_well = member.ended_well();
        ended_well.is_some()
    })
    .await;
    assert_eq!(ended_well, Some(true));
}
