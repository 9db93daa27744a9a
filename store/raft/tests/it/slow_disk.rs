//! A disk that becomes slow under a leader.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store_handle::Handle;
use store_raft::disk::{LogDisk, LogHead, LogOp};
use store_raft::memory::MemoryLog;

use crate::cluster::{Cluster, eventually, insist};

/// A log disk that takes its time when told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowLog {
    disk: MemoryLog,
    is_slow: Arc<AtomicBool>,
}

impl LogDisk for SlowLog {
    fn head(&self) -> io::Result<LogHead> {
        self.disk.head()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.disk.read(from, to, bytes_max)
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        if self.is_slow.load(Ordering::Relaxed) {
            // The disk's own time, on the writer's thread: not the event loop's.
            let (_sender, receiver) = std::sync::mpsc::channel::<()>();
            let _ = receiver.recv_timeout(Duration::from_millis(300));
        }
        self.disk.commit(ops)
    }
}

#[tokio::test]
async fn leader_with_a_slow_disk_hands_over_and_stays_a_member() {
    let log = SlowLog::default();
    let is_slow = log.is_slow.clone();
    let mut cluster = Cluster::new();
    cluster.logs.insert(1, Arc::new(log));
    cluster.found(3).await;
    if cluster.leader().await != 1 {
        cluster.store(1).transfer_leadership(Some(1)).await.unwrap();
    }
    is_slow.store(true, Ordering::Relaxed);
    eventually("another leads", async || {
        insist(cluster.store(2), "k", "v").await;
        cluster.store(2).leadership().borrow().leader.is_some_and(|leader| leader != 1)
    })
    .await;
    assert_eq!(cluster.store(2).members().len(), 3);
    cluster.store(1).read_index().await.unwrap();
}
