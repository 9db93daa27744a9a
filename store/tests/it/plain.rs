//! The plain questions over HTTP/1, on the port of the clients.

use std::io::Read;
use std::process::Command;

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
