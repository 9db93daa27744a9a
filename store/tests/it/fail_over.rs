//! Crashes: the next acknowledged put, and what is still there afterwards.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, WatchOptions};
use tokio::time::Instant;

use crate::cluster::{Cluster, is_etcd};

/// A client of one member that waits no longer than `ms` for anything.
async fn impatient(cluster: &Cluster, index: usize, ms: u64) -> Client {
    let options = ConnectOptions::new().with_timeout(Duration::from_millis(ms));
    Client::connect([cluster.members[index].endpoint()], Some(options)).await.unwrap()
}

#[tokio::test]
async fn killed_leader_is_followed_within_a_second() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let mut client = impatient(&cluster, other, 300).await;
    for number in 0..50 {
        client.put(format!("before/{number}"), "v", None).await.unwrap();
    }
    let started = Instant::now();
    cluster.members[leader].kill();
    while client.put("after", "v", None).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody follows");
    }
    let took = started.elapsed();
    // etcd takes its election time-out and more.
    assert!(is_etcd() || took < Duration::from_secs(1), "{took:?}");
    let all = etcd_client::GetOptions::new().with_prefix().with_count_only();
    let mut client = cluster.client_of(other).await;
    assert_eq!(client.get("before/", Some(all)).await.unwrap().count(), 50);
    // The old leader comes back, and has what it missed.
    cluster.members[leader].start();
    cluster.ready(leader).await;
    let mut client = cluster.client_of(leader).await;
    assert_eq!(client.get("after", None).await.unwrap().count(), 1);
}

#[tokio::test]
async fn everything_acknowledged_survives_a_crash_of_all() {
    let mut cluster = Cluster::start(3).await;
    let mut client = cluster.client().await;
    for number in 0..300 {
        client.put(format!("k{number:03}"), format!("v{number}"), None).await.unwrap();
    }
    let revision = client.delete("k000", None).await.unwrap().header().unwrap().revision();
    for member in &mut cluster.members {
        member.kill();
    }
    for member in &mut cluster.members {
        member.start();
    }
    for index in 0..3 {
        cluster.ready(index).await;
        let mut client = cluster.client_of(index).await;
        let all = etcd_client::GetOptions::new().with_prefix();
        let found = client.get("k", Some(all)).await.unwrap();
        assert_eq!((found.count(), found.header().unwrap().revision()), (299, revision));
        assert_eq!(found.kvs()[298].value(), b"v299");
        // History too: a watch from before the crash.
        let options = WatchOptions::new().with_prefix().with_start_revision(2);
        let mut stream = client.watch("k", Some(options)).await.unwrap();
        let mut events = 0;
        while events < 301 {
            events += stream.message().await.unwrap().unwrap().events().len();
        }
    }
}

#[tokio::test]
async fn leader_that_is_asked_to_stop_hands_over_first() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let mut client = impatient(&cluster, other, 1_000).await;
    client.put("k", "v", None).await.unwrap();
    let mut watching = cluster.client_of(leader).await;
    let _stream = watching.watch("k", None).await.unwrap();
    let started = Instant::now();
    assert!(cluster.members[leader].stop(), "it says that all was well");
    // etcd gives open streams seven seconds before it breaks them, and hands over before.
    let most = Duration::from_secs(if is_etcd() { 12 } else { 8 });
    assert!(started.elapsed() < most, "{:?}", started.elapsed());
    let after = Instant::now();
    client.put("k", "w", None).await.unwrap();
    assert!(after.elapsed() < Duration::from_secs(1));
}
