//! Disks that become slow: under a leader, and under all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store_handle::{Handle, Term};
use store_raft::disk::{LogDisk, LogHead, LogOp};
use store_raft::memory::MemoryLog;

use crate::cluster::{Cluster, eventually, insist};

/// A log disk that takes its time when told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowLog {
    disk: MemoryLog,
    sync_ms: Arc<AtomicU64>,
}

impl LogDisk for SlowLog {
    fn head(&self) -> io::Result<LogHead> {
        self.disk.head()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.disk.read(from, to, bytes_max)
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        // The disk's own time, on the writer's thread: not the event loop's.
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        let _ = receiver.recv_timeout(Duration::from_millis(self.sync_ms.load(Ordering::Relaxed)));
        self.disk.commit(ops)
    }
}

#[tokio::test]
async fn leader_with_a_slow_disk_hands_over_and_stays_a_member() {
    let log = SlowLog::default();
    let sync_ms = log.sync_ms.clone();
    let mut cluster = Cluster::new();
    cluster.logs.insert(1, Arc::new(log));
    cluster.found(3).await;
    if cluster.leader().await != 1 {
        cluster.store(1).transfer_leadership(Some(1)).await.unwrap();
    }
    sync_ms.store(300, Ordering::Relaxed);
    eventually("another leads", async || {
        insist(cluster.store(2), "k", "v").await;
        cluster.store(2).leadership().borrow().leader.is_some_and(|leader| leader != 1)
    })
    .await;
    assert_eq!(cluster.store(2).members().len(), 3);
    cluster.store(1).read_index().await.unwrap();
}

#[tokio::test]
async fn one_election_is_enough_where_all_disks_are_slow() {
    let sync_ms = Arc::<AtomicU64>::default();
    let mut cluster = Cluster::new();
    // An election takes two syncs; the next one would begin after a second, at the earliest.
    cluster.election_ms = 2_000;
    for id in 1..=3 {
        let log = SlowLog { sync_ms: sync_ms.clone(), ..SlowLog::default() };
        cluster.logs.insert(id, Arc::new(log));
    }
    cluster.found(3).await;
    let leader = cluster.leader().await;
    let term = cluster.store(leader).leadership().borrow().term;
    let survivor = cluster.follower().await;
    insist(cluster.store(survivor), "before", "1").await;
    // Both survivors attend to the leader by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Longer than it takes to notice, short enough for an election before the time-out.
    sync_ms.store(150, Ordering::Relaxed);
    cluster.kill(leader).await;
    cluster.leader().await;
    assert_eq!(cluster.store(survivor).leadership().borrow().term, Term(term.0 + 1));
}
