//! The log's disk: a commit takes time, and a crash during it leaves any part of it.
//!
//! # Invariants
//! - What was committed survives, unless a mutation says otherwise.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use store_handle::MemberId;
use store_mvcc::codec::{self, FormatVersion};
use store_raft::disk::{LogDisk, LogHead, LogOp};
use store_raft::memory::MemoryLog;
use store_raft::types::{Entry, EntryPayload, Vote};

use crate::mutant::Mutation;

/// What a sync takes on a good day, in microseconds.
const SYNC_US: (u64, u64) = (100, 1_500);

/// Commits that a disk that lies still holds in its cache.
const CACHED_COMMITS: usize = 6;

/// What was seen to reach the disk, for the invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// An entry: its place, and a fingerprint of all of it.
    Entry {
        index: u64,
        term: u64,
        fingerprint: u32,
    },
    Truncated {
        from: u64,
    },
    Vote {
        term: u64,
        candidate: MemberId,
        /// It was elected, and this member follows it, whomever it voted for.
        is_elected: bool,
    },
    /// What is on the disk is unknown from here on: it lost its power.
    Crashed,
}

#[derive(Debug)]
struct Inner {
    log: MemoryLog,
    /// Announced, and not yet committed.
    under_way: Vec<LogOp>,
    rng: StdRng,
    sync_us: (u64, u64),
    /// Why every commit fails.
    failure: Option<io::ErrorKind>,
    /// How many did.
    failed: usize,
    written: Vec<Written>,
    formats: BTreeMap<FormatVersion, usize>,
    mutation: Option<Mutation>,
    /// With a mutation: what a crash leaves, and what is not even there yet.
    durable: MemoryLog,
    cached: VecDeque<Vec<LogOp>>,
}

/// A log's disk. Clones share it, so it outlives a member that crashes.
#[derive(Clone, Debug)]
pub struct SimLog(Arc<Mutex<Inner>>);

impl SimLog {
    /// An empty one.
    pub fn new(rng: StdRng, mutation: Option<Mutation>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            log: MemoryLog::default(),
            under_way: Vec::new(),
            rng,
            sync_us: SYNC_US,
            failure: None,
            failed: 0,
            written: Vec::new(),
            formats: BTreeMap::new(),
            mutation: mutation.filter(|mutation| mutation.is_of_log()),
            durable: MemoryLog::default(),
            cached: VecDeque::new(),
        })))
    }

    /// Loses power: of a commit that is under way any part may stay. Returns whether some of it did.
    pub fn crash(&self) -> bool {
        let mut inner = self.0.lock();
        if inner.mutation.is_some() {
            inner.cached.clear();
            inner.log = copy(&inner.durable);
        }
        inner.written.push(Written::Crashed);
        let mut ops = std::mem::take(&mut inner.under_way);
        if inner.mutation == Some(Mutation::LogLosesTail) {
            // It would come behind what is lost.
            ops.clear();
        }
        let kept = inner.rng.random_range(0..=ops.len());
        let torn = ops.get(kept).cloned();
        ops.truncate(kept);
        // The operation that was being written may be there in part.
        if let Some(LogOp::Append(mut entries)) = torn {
            let kept = inner.rng.random_range(0..=entries.len());
            entries.truncate(kept);
            ops.push(LogOp::Append(entries));
        }
        inner.apply(&ops);
        ops.iter().any(|op| !matches!(op, LogOp::Append(entries) if entries.is_empty()))
    }

    /// What a sync takes from now on, in microseconds; `None`: the usual.
    pub fn be_slow(&self, sync_us: Option<(u64, u64)>) {
        self.0.lock().sync_us = sync_us.unwrap_or(SYNC_US);
    }

    /// Every commit fails from now on; or none does any more. Returns how many did.
    pub fn fail(&self, failure: Option<io::ErrorKind>) -> usize {
        let mut inner = self.0.lock();
        inner.failure = failure;
        std::mem::take(&mut inner.failed)
    }

    /// Changes one bit of one entry; returns its index, and the record as it was.
    pub fn rot(&self) -> Option<(u64, Vec<u8>)> {
        let mut inner = self.0.lock();
        let mut entries = inner.log.read(0, u64::MAX, usize::MAX).ok()?;
        if entries.is_empty() {
            return None;
        }
        let at = inner.rng.random_range(0..entries.len());
        let (index, record) = entries.swap_remove(at);
        let mut rotten = record.clone();
        let byte = inner.rng.random_range(0..rotten.len());
        rotten[byte] ^= 1 << inner.rng.random_range(0..8);
        inner.log.commit(&[LogOp::Append(vec![(index, rotten)])]).ok()?;
        Some((index, record))
    }

    /// Puts an entry's record back.
    pub fn mend(&self, index: u64, record: Vec<u8>) {
        let put = self.0.lock().log.commit(&[LogOp::Append(vec![(index, record)])]);
        put.expect("memory does not fail");
    }

    /// All that is on it now, on a disk of its own.
    pub fn copied(&self) -> MemoryLog {
        copy(&self.0.lock().log)
    }

    /// How many entries with commands reached the disk, by the version that they are written in.
    pub fn formats(&self) -> BTreeMap<FormatVersion, usize> {
        self.0.lock().formats.clone()
    }

    /// What has reached the disk since this was last asked.
    pub fn take_written(&self) -> Vec<Written> {
        std::mem::take(&mut self.0.lock().written)
    }
}

impl Inner {
    fn apply(&mut self, ops: &[LogOp]) {
        for op in ops {
            match op {
                LogOp::Append(entries) => {
                    for (index, record) in entries {
                        let Ok(entry) = codec::decode::<Entry>(record) else { continue };
                        self.written.extend(seen(*index, record, &entry));
                        if let EntryPayload::Normal(proposal) = &entry.payload
                            && let Some(version) = proposal.0.first()
                        {
                            *self.formats.entry(*version).or_default() += 1;
                        }
                    }
                }
                LogOp::Truncate { from } => self.written.push(Written::Truncated { from: *from }),
                LogOp::Vote(vote) => {
                    if let Ok(vote) = codec::decode::<Vote>(vote) {
                        let (term, candidate) = (vote.leader_id.term, vote.leader_id.voted_for);
                        let is_elected = vote.committed;
                        self.written.push(Written::Vote { term, candidate, is_elected });
                    }
                }
                LogOp::Purge { .. } | LogOp::Committed(_) => {}
            }
        }
        self.log.commit(ops).expect("memory does not fail");
        let Some(mutation) = self.mutation else { return };
        self.cached.push_back(mutation.of_ops(ops));
        let held = if mutation == Mutation::LogLosesTail { CACHED_COMMITS } else { 0 };
        while self.cached.len() > held {
            let ops = self.cached.pop_front().unwrap_or_default();
            self.durable.commit(&ops).expect("memory does not fail");
        }
    }
}

fn seen(index: u64, record: &[u8], entry: &Entry) -> Option<Written> {
    let term = entry.log_id.committed_leader_id().term;
    // The checksum that every record begins with.
    let sum = record.get(1..5)?.try_into().ok()?;
    Some(Written::Entry { index, term, fingerprint: u32::from_be_bytes(sum) })
}

fn copy(log: &MemoryLog) -> MemoryLog {
    let copy = MemoryLog::default();
    let head = log.head().expect("memory does not fail");
    let entries = log.read(0, u64::MAX, usize::MAX).expect("memory does not fail");
    let mut ops = Vec::new();
    ops.extend(head.purged.map(|mark| LogOp::Purge { upto: 0, mark }));
    ops.extend(head.vote.map(LogOp::Vote));
    ops.extend(head.committed.map(LogOp::Committed));
    ops.push(LogOp::Append(entries));
    copy.commit(&ops).expect("memory does not fail");
    copy
}

impl LogDisk for SimLog {
    fn head(&self) -> io::Result<LogHead> {
        self.0.lock().log.head()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.0.lock().log.read(from, to, bytes_max)
    }

    fn takes(&self, ops: &[LogOp]) -> Duration {
        let mut inner = self.0.lock();
        inner.under_way = ops.to_vec();
        let (from, to) = inner.sync_us;
        Duration::from_micros(inner.rng.random_range(from..to))
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        let mut inner = self.0.lock();
        if let Some(kind) = inner.failure {
            // What is on the disk now is unknowable: see `crash`.
            inner.failed += 1;
            return Err(kind.into());
        }
        inner.under_way.clear();
        inner.apply(ops);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(from: u64, to: u64) -> LogOp {
        LogOp::Append((from..to).map(|index| (index, vec![1; 9])).collect())
    }

    fn held(log: &SimLog) -> usize {
        log.read(0, u64::MAX, usize::MAX).unwrap().len()
    }

    #[test]
    fn crash_keeps_what_was_committed_and_any_part_of_what_was_not() {
        let mut lengths = std::collections::BTreeSet::new();
        for owner in 0..200 {
            store_env::rng::seed_this_thread(owner);
            let log = SimLog::new(store_env::rng::named("disk", owner), None);
            log.commit(&[entries(0, 5)]).unwrap();
            log.takes(&[LogOp::Vote(vec![1]), entries(5, 9)]);
            log.crash();
            lengths.insert(held(&log));
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn disk_that_lies_loses_what_it_confirmed() {
        store_env::rng::seed_this_thread(1);
        let rng = store_env::rng::named("disk", 1);
        let log = SimLog::new(rng, Some(Mutation::LogLosesTail));
        (0..20).for_each(|index| log.commit(&[entries(index, index + 1)]).unwrap());
        assert_eq!(held(&log), 20);
        log.crash();
        assert_eq!(held(&log), 20 - CACHED_COMMITS);
    }
}
