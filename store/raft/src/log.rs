//! The Raft log: its tail in memory, all of it on a [`LogDisk`], written by one writer that drains its queue.
//!
//! openraft appends here and is called back once the entries are durable; whatever has queued up meanwhile
//! goes to the disk together, with one sync.
//!
//! # Invariants
//! - Operations reach the disk in the order in which they were given.
//! - Only entries that are durable leave memory.
//! - After one error nothing is written any more: every later operation fails too.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use store_env::clock::SharedClock;
use store_mvcc::codec;

use crate::disk::{LogDisk, LogOp};
use crate::sync_stats::SyncStats;
use crate::types::{Entry, LogId, TypeConfig, Vote};
use crate::writer::{Done, Job, Writer};

/// Entries that stay in memory so that replication and apply need not read the disk.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// What one read of the disk brings at most, and one replication message carries at most.
const READ_BYTES_MAX: usize = 4 << 20;

/// How exactly it is known which entries are how far from the end.
const MARK_BYTES: u64 = 64 << 10;

/// The log. Clones share it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tail: Mutex<Tail>,
    /// The highest index known to be durable; never above it while a truncation is under way.
    durable: Arc<AtomicU64>,
    disk: Arc<dyn LogDisk>,
    writer: Writer,
    stats: Arc<SyncStats>,
}

#[derive(Debug, Default)]
struct Tail {
    entries: BTreeMap<u64, Kept>,
    bytes: usize,
    /// Where the log begins: in memory or on the disk.
    first: u64,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    committed_written: Option<LogId>,
    sizes: Sizes,
}

/// Where so many bytes of the log begin, in memory or not.
#[derive(Debug, Default)]
struct Sizes {
    /// Bytes of all entries ever, and of those that are purged.
    written: u64,
    purged: u64,
    /// Indexes, and what `written` was with them: one for each [`MARK_BYTES`], about.
    marks: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    bytes: usize,
}

impl Log {
    /// The log that `disk` holds. With `threaded` a thread writes; else writes happen where they are asked for.
    pub fn open(disk: Arc<dyn LogDisk>, clock: SharedClock, threaded: bool) -> io::Result<Self> {
        let stats = Arc::new(SyncStats::default());
        let durable = Arc::new(AtomicU64::new(0));
        let tail = Tail::load(&*disk)?;
        durable.store(tail.last.map_or(0, |id| id.index), Ordering::Release);
        let writer = Writer::start(disk.clone(), clock, stats.clone(), durable.clone(), threaded)?;
        Ok(Self(Arc::new(Shared { tail: Mutex::new(tail), durable, disk, writer, stats })))
    }

    /// Ends it, if this is the last of its clones: when this returns, nothing holds the disk any more.
    pub(crate) fn close(self) {
        if let Some(shared) = Arc::into_inner(self.0) {
            shared.writer.finish();
        }
    }

    /// How long syncs took lately.
    pub fn stats(&self) -> Arc<SyncStats> {
        self.0.stats.clone()
    }

    /// The last entry, what is known to be committed, and the term of the vote.
    pub(crate) fn ends(&self) -> (Option<LogId>, Option<LogId>, u64) {
        let tail = self.0.tail.lock();
        (tail.last, tail.committed, tail.vote.map_or(0, |vote| vote.leader_id.term))
    }

    /// Knows how long it is, and does not keep it open.
    pub(crate) fn length(&self) -> Length {
        Length(Arc::downgrade(&self.0))
    }

    /// Some entries from `from` on; none at the end.
    pub(crate) fn next(&self, from: u64) -> io::Result<Vec<Entry>> {
        self.read(from, u64::MAX, READ_BYTES_MAX)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut found, in_memory_from) = {
            let tail = self.0.tail.lock();
            let from = from.max(tail.first);
            let to = to.min(tail.last.map_or(0, |id| id.index + 1));
            if from >= to {
                return Ok(Vec::new());
            }
            let first = tail.entries.keys().next().copied().unwrap_or(to);
            if from >= first {
                return Ok(tail.copy(from, to, bytes_max));
            }
            (self.read_disk(from, first.min(to), bytes_max)?, first.min(to))
        };
        let reached = found.last().map_or(from, |entry| entry.log_id.index + 1);
        if reached == in_memory_from && reached < to && bytes_max == usize::MAX {
            found.extend(self.read(reached, to, bytes_max)?);
        }
        Ok(found)
    }

    fn read_disk(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = self.0.disk.read(from, to, bytes_max)?;
        let follow =
            (from..).zip(&records).map(|(next, (index, record))| entry(next, *index, record));
        let entries: Vec<Entry> = follow.collect::<io::Result<_>>()?;
        if entries.is_empty() {
            return Err(corrupt(format!("entries {from} to {} are missing", to - 1)));
        }
        Ok(entries)
    }
}

/// How long a log is, for as long as it is open: whoever held the log itself would keep its disk open while the
/// process ends.
#[derive(Clone, Debug)]
pub(crate) struct Length(Weak<Shared>);

impl Length {
    /// What all entries take that are not purged, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.upgrade().map_or(0, |log| {
            let tail = log.tail.lock();
            tail.sizes.written - tail.sizes.purged
        })
    }

    /// The last entry that could be purged so that at least so many bytes stay.
    pub(crate) fn beyond(&self, bytes: u64) -> Option<u64> {
        self.0.upgrade()?.tail.lock().sizes.beyond(bytes)
    }
}

impl Tail {
    fn load(disk: &dyn LogDisk) -> io::Result<Self> {
        let head = disk.head()?;
        let purged: Option<LogId> = named("the mark of the last purge", head.purged)?;
        let committed = named("the mark of what is committed", head.committed)?;
        let vote = named("the vote", head.vote)?;
        let mut next = purged.map_or(0, |id| id.index + 1);
        let mut tail =
            Self { first: next, last: purged, purged, vote, committed, ..Self::default() };
        loop {
            let records = disk.read(next, u64::MAX, READ_BYTES_MAX)?;
            if records.is_empty() {
                break;
            }
            for (index, record) in records {
                let entry = entry(next, index, &record)?;
                next += 1;
                tail.keep(entry, record.len());
            }
            tail.evict(u64::MAX);
        }
        // A crash may have kept the note of what is committed and not the entries it speaks of.
        tail.committed = tail.committed.min(tail.last);
        tail.committed_written = tail.committed;
        Ok(tail)
    }

    fn keep(&mut self, entry: Entry, bytes: usize) {
        self.last = Some(entry.log_id);
        self.bytes += bytes;
        self.sizes.add(entry.log_id.index, bytes as u64);
        self.entries.insert(entry.log_id.index, Kept { entry, bytes });
    }

    fn evict(&mut self, durable: u64) {
        while self.bytes > TAIL_BYTES_MAX
            && let Some(first) = self.entries.first_entry()
            && *first.key() <= durable
        {
            self.bytes -= first.remove().bytes;
        }
    }

    fn copy(&self, from: u64, to: u64, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let range = self.entries.range(from..to).map(|(_, kept)| kept);
        let until_full = range.take_while(|kept| {
            let fits = bytes == 0 || bytes + kept.bytes <= bytes_max;
            bytes += kept.bytes;
            fits
        });
        until_full.map(|kept| kept.entry.clone()).collect()
    }

    fn cut_before(&mut self, first: u64) {
        let gone = std::mem::take(&mut self.entries);
        let (gone, stays) = gone.into_iter().partition(|(index, _)| *index < first);
        self.entries = stays;
        self.bytes -= bytes_of(&gone);
        self.sizes.cut_before(first);
    }

    fn cut_from(&mut self, first: u64) {
        let gone = self.entries.split_off(&first);
        self.bytes -= bytes_of(&gone);
        self.sizes.cut_from(first);
    }

    fn committed_to_write(&mut self) -> Option<LogOp> {
        if self.committed == self.committed_written {
            return None;
        }
        self.committed_written = self.committed;
        self.committed.map(|id| LogOp::Committed(codec::encode(&id)))
    }
}

impl Sizes {
    fn add(&mut self, index: u64, bytes: u64) {
        self.written += bytes;
        let last = self.marks.back().map_or(self.purged, |(_, written)| *written);
        if self.written - last >= MARK_BYTES {
            self.marks.push_back((index, self.written));
        }
    }

    fn beyond(&self, bytes: u64) -> Option<u64> {
        let far = self.marks.partition_point(|(_, written)| self.written - written >= bytes);
        Some(self.marks[far.checked_sub(1)?].0)
    }

    fn cut_before(&mut self, first: u64) {
        while let Some((_, written)) = self.marks.pop_front_if(|(index, _)| *index < first) {
            self.purged = written;
        }
    }

    /// What came after the last mark that stays is taken to be still there: it is little.
    fn cut_from(&mut self, first: u64) {
        while self.marks.pop_back_if(|(index, _)| *index >= first).is_some() {
            self.written = self.marks.back().map_or(self.purged, |(_, written)| *written);
        }
    }
}

/// The entry of a record, which must be the next one.
fn entry(next: u64, index: u64, record: &[u8]) -> io::Result<Entry> {
    if index != next {
        return Err(corrupt(format!("entries {next} to {} are missing", index.wrapping_sub(1))));
    }
    let entry: Entry =
        codec::decode(record).map_err(|error| corrupt(format!("entry {index}: {error}")))?;
    match entry.log_id.index {
        own if own == index => Ok(entry),
        own => Err(corrupt(format!("entry {own} stands in the place of entry {index}"))),
    }
}

fn named<T: DeserializeOwned>(what: &str, record: Option<Vec<u8>>) -> io::Result<Option<T>> {
    let decode = |record: Vec<u8>| codec::decode(&record);
    record.map(decode).transpose().map_err(|error| corrupt(format!("{what}: {error}")))
}

fn corrupt(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn bytes_of(entries: &BTreeMap<u64, Kept>) -> usize {
    entries.values().map(|kept| kept.bytes).sum()
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        self.read(from, to, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.tail.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.0.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.tail.lock().vote = Some(*vote);
        self.0.writer.write(vec![LogOp::Vote(codec::encode(vote))]).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Goes along with the next entries: it need not be durable, and must not cost a sync.
        self.0.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.tail.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let job = {
            let mut tail = self.0.tail.lock();
            let mut records = Vec::new();
            for entry in entries {
                let record = codec::encode(&entry);
                // An empty log may begin anywhere; a group's does at 0.
                let next = tail.last.map_or(entry.log_id.index, |id| id.index + 1);
                if tail.last.is_none() {
                    tail.first = next;
                }
                assert_eq!(entry.log_id.index, next, "entries follow each other");
                tail.keep(entry, record.len());
                records.push((next, record));
            }
            tail.evict(self.0.durable.load(Ordering::Acquire));
            let last = records.last().map(|(index, _)| *index);
            let mut ops = vec![LogOp::Append(records)];
            ops.extend(tail.committed_to_write());
            Job { ops, done: Done::Appended { callback, last } }
        };
        self.0.writer.submit(job).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        {
            let mut tail = self.0.tail.lock();
            tail.cut_from(from);
            tail.last = tail.last.min(last);
            tail.committed = tail.committed.min(last);
        }
        self.0.writer.write(vec![LogOp::Truncate { from }]).await?;
        self.0.durable.fetch_min(from.saturating_sub(1), Ordering::AcqRel);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut tail = self.0.tail.lock();
            tail.cut_before(upto.index + 1);
            tail.purged = Some(upto);
            tail.first = upto.index + 1;
            tail.last = tail.last.max(Some(upto));
        }
        let mark = codec::encode(&upto);
        let ops = vec![LogOp::Purge { upto: upto.index, mark }];
        self.0.writer.submit(Job { ops, done: Done::Nobody }).await
    }
}
