//! Disks that fail: their member stops at once and says why, and the others go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store_mvcc::{Record, codec};
use store_raft::Start;
use store_raft::disk::{Each, LogDisk, LogHead, LogOp, StateDisk, StateReplacement, StateView};
use store_raft::memory::{MemoryLog, MemoryState};
use store_raft::rebuild::{self, Disks};

use crate::cluster::{Cluster, insist, member, read, write};

/// A log disk that fails when told to, and counts how often it is asked after that.
#[derive(Clone, Debug, Default)]
struct FailingLog {
    disk: MemoryLog,
    fails: Arc<AtomicBool>,
    asked_again: Arc<AtomicU64>,
}

impl LogDisk for FailingLog {
    fn head(&self) -> io::Result<LogHead> {
        self.disk.head()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.disk.read(from, to, bytes_max)
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            self.asked_again.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::other("fsync: input/output error"));
        }
        self.disk.commit(ops)
    }
}

#[tokio::test]
async fn member_whose_log_cannot_be_synced_stops_at_once_with_the_reason_and_the_others_go_on() {
    let log = FailingLog::default();
    let mut cluster = Cluster::new();
    cluster.logs.insert(1, Arc::new(log.clone()));
    cluster.found(3).await;
    if cluster.leader().await != 1 {
        use store_handle::Handle;
        cluster.store(1).transfer_leadership(Some(1)).await.unwrap();
        cluster.leader().await;
    }
    write(cluster.store(2), "before", "1").await.unwrap();
    log.fails.store(true, Ordering::Relaxed);
    let survivor = cluster.store(2).clone();
    let (reason, _) = tokio::join!(cluster.gives_up(1), insist(&survivor, "after", "2"));
    assert!(reason.contains("fsync: input/output error"), "{reason}");
    assert_eq!(log.asked_again.load(Ordering::Relaxed), 1, "an error is final");
    assert_eq!(read(&survivor, "before").await.as_deref(), Some("1"));
    assert_ne!(cluster.leader().await, 1);
}

/// A state disk whose flush fails when told to.
#[derive(Clone, Debug, Default)]
struct FailingState {
    disk: MemoryState,
    fails: Arc<AtomicBool>,
}

impl StateDisk for FailingState {
    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        self.disk.load(each)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.disk.get(key)
    }

    fn write(&self, writes: Vec<Record>) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("write: no such device"));
        }
        self.disk.write(writes)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn view(&self) -> io::Result<Box<dyn StateView>> {
        self.disk.view()
    }

    fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>> {
        self.disk.begin_replace()
    }
}

#[tokio::test]
async fn member_whose_state_cannot_be_written_stops_at_once_with_the_reason() {
    let state = FailingState::default();
    let mut cluster = Cluster::new();
    cluster.states.insert(1, Arc::new(state.clone()));
    cluster.found(3).await;
    state.fails.store(true, Ordering::Relaxed);
    let survivor = cluster.store(2).clone();
    let (reason, _) = tokio::join!(cluster.gives_up(1), insist(&survivor, "after", "2"));
    assert!(reason.contains("write: no such device"), "{reason}");
}

/// What is said about a log after `ops`.
async fn said_about(ops: &[LogOp]) -> String {
    let mut cluster = Cluster::founded(1).await;
    for number in 0..20 {
        write(cluster.store(1), &format!("k{number}"), "v").await.unwrap();
    }
    cluster.kill(1).await;
    let crate::cluster::Disks { log, state } = cluster.disks[&1].clone();
    log.commit(ops).unwrap();
    let clock = store_env::clock::SystemClock::shared();
    let disks = Disks { log: Arc::new(log), state: Arc::new(state), clock };
    let surveyed = rebuild::survey(&disks).map(|survey| format!("ends at {}", survey.last.index));
    let started = cluster.try_start(1, Start::Found(vec![member(1)])).await;
    match (surveyed, started) {
        (Ok(said), Ok(())) => said,
        (Err(error), Err(refused)) => {
            assert!(
                refused.contains(&error.to_string()) && refused.contains("empty its data"),
                "{refused}"
            );
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn holes_and_damage_in_the_log_are_named() {
    let overwrite = |index, record: &[u8]| LogOp::Append(vec![(index, record.to_vec())]);
    let whole = said_about(&[]).await;
    assert!(whole.starts_with("ends at "), "{whole}");
    #[rustfmt::skip]
    let cases = [
        (LogOp::Truncate { from: 7 },             overwrite(9, b"x"), "entries 7 to 8 are missing"),
        (overwrite(9, &codec::encode(&1_u8)),     overwrite(9, &codec::encode(&1_u8)), "entry 9: malformed: "),
        (overwrite(9, &[1, 2, 3, 4, 5, 6]),       overwrite(9, &[1, 2, 3, 4, 5, 6]), "entry 9: checksum "),
        (overwrite(9, &[9, 2, 3, 4, 5, 6]),       overwrite(9, &[9, 2, 3, 4, 5, 6]), "entry 9: unknown format version 9"),
        (LogOp::Vote(b"xxxxxxx".to_vec()),        LogOp::Vote(b"xxxxxxx".to_vec()), "the vote: unknown format version 120"),
    ];
    for (first, second, expected) in cases {
        let said = said_about(&[first, second]).await;
        assert!(said.starts_with(expected), "{said} instead of {expected}");
    }
}
