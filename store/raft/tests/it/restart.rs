//! Members that come back: with their disks, without them, or far behind.

use std::sync::Arc;

use store_handle::{Handle, WatchItem, WatchRequest};
use store_raft::Start;
use store_raft::disk::LogDisk;
use store_raft::memory::MemoryLog;

use crate::cluster::{Cluster, Disks, eventually, member, read, write};

async fn fill(cluster: &Cluster, id: u64, prefix: &str, count: u32) {
    for n in 0..count {
        write(cluster.store(id), &format!("{prefix}{n}"), prefix).await.unwrap();
    }
}

fn contents(cluster: &Cluster, id: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    cluster.store(id).contents().export().unwrap()
}

async fn same_everywhere(cluster: &Cluster) {
    for id in cluster.nodes.keys() {
        cluster.store(*id).read_index().await.unwrap();
    }
    let first = contents(cluster, *cluster.nodes.keys().next().unwrap());
    for id in cluster.nodes.keys() {
        assert!(contents(cluster, *id) == first, "member {id} differs");
    }
}

#[tokio::test]
async fn everything_acknowledged_survives_the_death_of_all() {
    let mut cluster = Cluster::founded(3).await;
    fill(&cluster, 1, "a", 50).await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id, Start::Join).await;
    }
    assert_eq!(read(cluster.store(2), "a49").await.as_deref(), Some("a"));
    fill(&cluster, 2, "b", 5).await;
    same_everywhere(&cluster).await;
}

#[tokio::test]
async fn log_is_purged_and_what_is_left_restores_the_state() {
    let mut cluster = Cluster::new();
    cluster.snapshot_entries = 20;
    cluster.start(1, Start::Found(vec![member(1)])).await;
    cluster.leader().await;
    fill(&cluster, 1, "a", 100).await;
    let log = cluster.disks[&1].log.clone();
    let is_purged = || log.read(0, 40, usize::MAX).unwrap().is_empty();
    eventually("the log's beginning is purged", async || is_purged()).await;
    let before = contents(&cluster, 1);
    cluster.kill(1).await;
    cluster.start(1, Start::Join).await;
    cluster.store(1).read_index().await.unwrap();
    assert!(contents(&cluster, 1) == before);
}

#[tokio::test]
async fn log_of_few_large_entries_is_purged_too_and_a_member_that_missed_them_catches_up() {
    let mut cluster = Cluster::new();
    cluster.log_bytes = Some(200_000);
    cluster.found(3).await;
    let behind = cluster.follower().await;
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    for n in 0..100 {
        let value = "x".repeat(20_000);
        write(cluster.store(leader), &format!("a{n}"), &value).await.unwrap();
    }
    for id in cluster.nodes.keys() {
        let log = cluster.disks[id].log.clone();
        let bytes = || {
            let records = log.read(0, u64::MAX, usize::MAX).unwrap();
            records.iter().map(|(_, record)| record.len()).sum::<usize>()
        };
        eventually("the log is short again", async || bytes() < 400_000).await;
        assert!(bytes() >= 200_000, "what a member may have missed for a moment is kept");
    }
    cluster.start(behind, Start::Join).await;
    cluster.store(behind).read_index().await.unwrap();
    same_everywhere(&cluster).await;
}

/// A process that ends must not race with its log being closed.
#[tokio::test]
async fn log_is_closed_with_its_member_although_somebody_holds_the_store() {
    let mut cluster = Cluster::new();
    let disk: Arc<dyn LogDisk> = Arc::new(MemoryLog::default());
    cluster.logs.insert(1, disk.clone());
    let unopened = Arc::strong_count(&disk);
    cluster.start(1, Start::Found(vec![member(1)])).await;
    cluster.leader().await;
    let held = cluster.store(1).clone();
    cluster.stop(1).await;
    eventually("it is closed", async || Arc::strong_count(&disk) == unopened).await;
    drop(held);
}

#[tokio::test]
async fn member_without_its_disks_is_brought_up_by_a_snapshot() {
    let mut cluster = Cluster::new();
    cluster.snapshot_entries = 20;
    for id in 1..=3 {
        cluster.start(id, Start::Found((1..=3).map(member).collect())).await;
    }
    let leader = cluster.leader().await;
    let wiped = cluster.follower().await;
    cluster.kill(wiped).await;
    fill(&cluster, leader, "a", 100).await;
    cluster.disks.insert(wiped, Disks::default());
    cluster.start(wiped, Start::Join).await;
    assert_eq!(read(cluster.store(wiped), "a99").await.as_deref(), Some("a"));
    same_everywhere(&cluster).await;
    // What it got is on its disk.
    cluster.kill(wiped).await;
    cluster.start(wiped, Start::Join).await;
    assert_eq!(read(cluster.store(wiped), "a0").await.as_deref(), Some("a"));
}

#[tokio::test]
async fn watcher_on_a_member_that_lags_gets_all_of_it_once_it_is_back() {
    let mut cluster = Cluster::new();
    cluster.snapshot_entries = 20;
    for id in 1..=3 {
        cluster.start(id, Start::Found((1..=3).map(member).collect())).await;
    }
    let leader = cluster.leader().await;
    let late = cluster.follower().await;
    let first = write(cluster.store(leader), "w", "first").await.unwrap();
    cluster.kill(late).await;
    fill(&cluster, leader, "a", 100).await;
    cluster.start(late, Start::Join).await;
    let range = store_handle::KeyRange::prefix("a");
    let mut watcher = cluster.store(late).watch(WatchRequest { range, start: first + 1 }).unwrap();
    let mut seen = 0;
    while seen < 100 {
        match watcher.next().await.unwrap() {
            WatchItem::Events { events, .. } => seen += events.len(),
            WatchItem::Progress { .. } => {}
            WatchItem::Compacted { .. } => panic!("nothing was compacted"),
        }
    }
}
