//! The state machine: what a log entry does to the store, and what the store can then be asked.
//!
//! # Path
//! `store_handle::Handle::propose` → the log → `State::apply` → records to disk, changes to watchers, replies
//!
//! # Invariants
//! - `restore(export(s)) == s`, and so is a restore of all records ever written, applied in order.
//! - A command that is refused changes nothing.
//! - Time never goes back: it is the latest that any proposer has seen.
//! - What a compaction forgets is gone for every reader at once; that it is swept later changes no answer,
//!   and two states that differ only in that are equal.

use std::sync::Arc;

use crate::codec;
use crate::history::Seen;
use crate::keyspace::{Key, Keyspace};
use crate::lease::Lessor;
use crate::page::{self, Draft};
use crate::range::{self, Found, Span};
use crate::record::{self, Meta, RawRecord, Record};
use crate::txn;
use crate::types::{
    Batch, Change, Command, Error, Fenced, KeyRange, KeyValue, LeaseId, LeaseInfo, RangeRequest,
    Reply, Revision, Term,
};
use crate::versions::{self, Position, Unreadable, Versions};
use crate::writer::{Writer, Written, needed};

/// The store's contents.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) keys: Keyspace,
    pub(crate) lessor: Lessor,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) now_ms: u64,
}

/// What one entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each command, in order.
    pub replies: Vec<Result<Reply, Error>>,
    /// One for each revision taken, in order.
    pub changes: Vec<Change>,
    /// What some of their events lack.
    pub lacks: Vec<Lack>,
    /// What must be stored, in order, in one atomic batch.
    pub writes: Vec<Record>,
}

/// An event without the version that was replaced: it is not in memory, and nobody has asked for it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Which of the changes.
    pub change: usize,
    /// Which of its events.
    pub event: usize,
    /// Where the version is.
    pub at: Position,
}

/// A version that is kept, and its content as far as it is in memory.
#[derive(Debug)]
pub struct Item {
    at: Position,
    kv: KeyValue,
    is_complete: bool,
}

/// A checksum of versions, in the order in which they are given.
#[derive(Clone, Debug, Default)]
pub struct Checksum(crc32fast::Hasher);

impl Default for State {
    fn default() -> Self {
        Self::new(None)
    }
}

/// Equal in what anyone can be told.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.meta() == other.meta() && self.lessor == other.lessor && self.kept() == other.kept()
    }
}

impl Eq for State {}

impl State {
    /// An empty store, which keeps so many bytes of values in memory; `None` means all latest ones.
    pub fn new(resident_bytes_max: Option<usize>) -> Self {
        Self {
            keys: Keyspace::new(resident_bytes_max),
            lessor: Lessor::default(),
            revision: 1,
            compacted: 0,
            now_ms: 0,
        }
    }

    /// Applies one log entry, proposed in `entry_term`. What it writes need not be in `stored` before
    /// [`State::settle`] is called.
    ///
    /// # Panics
    /// If a record is needed that cannot be read: then this member must stop.
    pub fn apply(&mut self, entry_term: Term, batch: &Batch, stored: &dyn Versions) -> Applied {
        let before = self.meta();
        let mut applied = Applied::default();
        applied.replies.reserve_exact(batch.commands.len());
        self.now_ms = self.now_ms.max(batch.now_ms);
        for Fenced { fence, command } in &batch.commands {
            let reply = match *fence {
                Some(proposed) if proposed != entry_term => {
                    Err(Error::Fenced { proposed, applied: entry_term })
                }
                _ => self.run(command, stored, &mut applied),
            };
            applied.replies.push(reply);
        }
        let meta = self.meta();
        if meta != before {
            let value = codec::encode(&meta);
            applied.writes.push(Record::Put { key: record::meta_key(), value });
        }
        applied
    }

    /// To be called once everything that was applied is in the stored records: values that are too much
    /// for memory leave it.
    pub fn settle(&mut self) {
        self.keys.settle(self.revision);
    }

    /// Forgets a part of what was compacted: at most `versions_max` lines of history are looked at. The
    /// records to delete; none once all is swept. Holds for this member only: it is no part of the log.
    pub fn sweep(&mut self, versions_max: usize) -> Vec<Record> {
        let mut writes = Vec::new();
        self.keys.sweep(self.compacted, versions_max, |at| {
            writes.push(Record::Delete { key: record::version_key(at.revision, at.sub) });
        });
        writes
    }

    /// Whether nothing is left that was compacted.
    pub fn is_swept(&self) -> bool {
        self.keys.is_swept(self.compacted)
    }

    /// The latest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can still be read and watched from; 0 before the first compaction.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The latest time, in milliseconds since the Unix epoch, that any proposer has seen.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How many keys have any version in history, deleted ones and those still to be swept included.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Bytes that latest values take in memory, if there is a bound to them.
    pub fn resident_bytes(&self) -> usize {
        self.keys.resident_bytes()
    }

    /// Reads.
    pub fn range(&self, request: &RangeRequest) -> Result<Found, Error> {
        range::read(&self.keys, self.span(), request)
    }

    /// What happened in `range` from revision `from` on, at most `changes_max` changes of it.
    pub fn page(
        &self,
        range: &KeyRange,
        from: Revision,
        changes_max: usize,
    ) -> Result<Draft, Error> {
        if from < self.compacted {
            return Err(Error::Compacted { asked: from, oldest: self.compacted });
        }
        let span = (self.compacted, self.revision);
        Ok(page::draft(&self.keys, span, range, from, changes_max.max(1)))
    }

    /// The revision that a read at `asked` is answered at.
    pub fn resolve(&self, asked: Revision) -> Result<Revision, Error> {
        self.span().resolve(asked)
    }

    /// The versions that are kept, up to revision `through`, of at least one and about `items_max` of the
    /// keys after `after`; none at the end. Until the next compaction they stay the same.
    pub fn items(&self, after: Option<&[u8]>, through: Revision, items_max: usize) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for (key, seen) in self.keys.kept(after, self.compacted) {
            let is_next_key = items.last().is_none_or(|last| last.kv.key[..] != key[..]);
            if is_next_key && items.len() >= items_max {
                break;
            }
            let at = seen.position();
            if at.revision <= through {
                let (kv, absent) = self.keys.to_key_value(seen, bytes::Bytes::copy_from_slice(key));
                items.push(Item { at, kv, is_complete: absent.is_none() });
            }
        }
        items
    }

    /// A lease's time and keys.
    pub fn lease(&self, id: LeaseId) -> LeaseInfo {
        self.lessor.info(id, self.now_ms)
    }

    /// All leases.
    pub fn leases(&self) -> Vec<LeaseId> {
        self.lessor.ids().collect()
    }

    /// At most `max` of the leases that are due at `now_ms`, the longest due first.
    pub fn leases_due(&self, now_ms: u64, max: usize) -> Vec<LeaseId> {
        self.lessor.due(now_ms).take(max).collect()
    }

    /// When the next lease is due, in milliseconds since the Unix epoch.
    pub fn next_lease_due_ms(&self) -> Option<u64> {
        self.lessor.next_due_ms()
    }

    /// All records of the state but those of versions, which are its [`State::items`].
    pub fn scalars(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let meta = (record::meta_key(), codec::encode(&self.meta()));
        let lease = |(id, lease)| (record::lease_key(id), codec::encode(&lease));
        std::iter::once(meta).chain(self.lessor.records().map(lease))
    }

    /// All records of the state: what a compaction has forgotten is not among them.
    pub fn export(&self, stored: &dyn Versions) -> Result<Vec<RawRecord>, Unreadable> {
        let mut records: Vec<_> = self.scalars().collect();
        for item in self.items(None, Revision::MAX, usize::MAX) {
            records.push(item.fetch(stored)?.to_record());
        }
        Ok(records)
    }

    /// What is known of the versions that are kept, without the values.
    fn kept(&self) -> Vec<(&Key, Position, bool, [i64; 3])> {
        let known = |seen| match seen {
            Seen::Latest(latest) => [latest.create_revision, latest.version, latest.lease],
            Seen::Older(_) => [0; 3],
        };
        let kept = self.keys.kept(None, self.compacted);
        kept.map(|(key, seen)| (key, seen.position(), seen.is_tombstone(), known(seen))).collect()
    }

    /// Jumps `by` revisions ahead, as if so much had been written, and forgets the history before: whoever
    /// watches or reads on from a revision of before is told that it is compacted. Returns what must be stored.
    pub fn leap(&mut self, by: Revision) -> Vec<Record> {
        self.revision = self.revision.saturating_add(by.max(0));
        if self.compacted < self.revision {
            let compacted = self.compact(self.revision);
            compacted.expect("a revision that is there and not yet compacted can be");
        }
        let value = codec::encode(&self.meta());
        vec![Record::Put { key: record::meta_key(), value }]
    }

    pub(crate) fn span(&self) -> Span {
        Span { latest: self.revision, compacted: self.compacted }
    }

    fn run(
        &mut self,
        command: &Command,
        stored: &dyn Versions,
        applied: &mut Applied,
    ) -> Result<Reply, Error> {
        match command {
            Command::Txn(txn) => {
                let path = txn::plan(self, stored, txn)?;
                let mut writer = Writer::new(self, stored, &mut applied.writes);
                let reply = txn::run(&mut writer, &path);
                let written = writer.finish();
                applied.take(written);
                Ok(Reply::Txn(reply))
            }
            Command::LeaseGrant { id, ttl_s } => {
                let (id, lease) = self.lessor.grant(*id, *ttl_s, self.now_ms)?;
                let value = codec::encode(&lease);
                applied.writes.push(Record::Put { key: record::lease_key(id), value });
                Ok(Reply::LeaseGranted { revision: self.revision, id, ttl_s: lease.ttl_s })
            }
            Command::LeaseRevoke { id } => {
                if !self.lessor.exists(*id) {
                    return Err(Error::LeaseNotFound { id: *id });
                }
                self.revoke(&[*id], stored, applied);
                Ok(Reply::LeaseRevoked { revision: self.revision })
            }
            Command::LeaseKeepAlive { id } => {
                let renewed = self.lessor.renew(*id, self.now_ms);
                if let Some(lease) = &renewed {
                    let value = codec::encode(lease);
                    applied.writes.push(Record::Put { key: record::lease_key(*id), value });
                }
                let ttl_s = renewed.map_or(0, |lease| lease.ttl_s);
                Ok(Reply::LeaseKeptAlive { revision: self.revision, ttl_s })
            }
            Command::LeaseExpire { ids } => {
                let due = |id: &LeaseId| self.lessor.is_due(*id, self.now_ms);
                let mut ids: Vec<_> = ids.iter().copied().filter(due).collect();
                ids.sort_unstable();
                ids.dedup();
                self.revoke(&ids, stored, applied);
                Ok(Reply::LeasesExpired { revision: self.revision, count: ids.len() })
            }
            Command::Compact { revision } => self.compact(*revision),
        }
    }

    /// Ends leases that exist, with their keys, as one revision.
    fn revoke(&mut self, ids: &[LeaseId], stored: &dyn Versions, applied: &mut Applied) {
        let mut keys = Vec::new();
        for id in ids {
            keys.extend(self.lessor.remove(*id).expect("the caller names leases that exist"));
            applied.writes.push(Record::Delete { key: record::lease_key(*id) });
        }
        keys.sort_unstable();
        let mut writer = Writer::new(self, stored, &mut applied.writes);
        for key in &keys {
            writer.delete(key, false);
        }
        let written = writer.finish();
        applied.take(written);
    }

    fn compact(&mut self, asked: Revision) -> Result<Reply, Error> {
        if asked <= self.compacted {
            return Err(Error::Compacted { asked, oldest: self.compacted });
        }
        if asked > self.revision {
            return Err(Error::FutureRevision { asked, latest: self.revision });
        }
        self.compacted = asked;
        self.keys.begin_sweep();
        Ok(Reply::Compacted { revision: self.revision })
    }

    fn meta(&self) -> Meta {
        Meta {
            revision: self.revision,
            compacted: self.compacted,
            now_ms: self.now_ms,
            last_lease: self.lessor.last_id,
        }
    }

    pub(crate) fn set_meta(&mut self, meta: &Meta) {
        self.revision = meta.revision;
        self.compacted = meta.compacted;
        self.now_ms = meta.now_ms;
        self.lessor.last_id = meta.last_lease;
    }
}

impl Applied {
    fn take(&mut self, written: Option<Written>) {
        let Some(Written { change, lacks }) = written else { return };
        let at = self.changes.len();
        self.lacks.extend(lacks.into_iter().map(|(event, of)| Lack { change: at, event, at: of }));
        self.changes.push(change);
    }
}

impl Lack {
    /// The same, where so many changes come before.
    #[must_use]
    pub fn after(self, changes: usize) -> Self {
        Self { change: self.change + changes, ..self }
    }

    /// Brings what the event lacks. The changes must not be shared yet.
    ///
    /// # Panics
    /// If the record cannot be read: then this member must stop.
    pub fn fill(self, changes: &mut [Change], stored: &dyn Versions) {
        let events = Arc::get_mut(&mut changes[self.change].events);
        let event = &mut events.expect("a change that nobody has seen")[self.event];
        event.prev = Some(needed(versions::read_of(stored, &event.kv.key, self.at)));
    }
}

impl Item {
    /// The item, complete.
    pub fn fetch(self, stored: &dyn Versions) -> Result<Self, Unreadable> {
        if self.is_complete {
            return Ok(self);
        }
        let kv = versions::read_of(stored, &self.kv.key, self.at)?;
        Ok(Self { kv, is_complete: true, ..self })
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.kv.key
    }

    fn to_record(&self) -> (Vec<u8>, Vec<u8>) {
        let key = record::version_key(self.at.revision, self.at.sub);
        (key, record::encode_version(&self.kv))
    }
}

impl Checksum {
    /// Takes in one more version.
    pub fn add(&mut self, item: &Item) {
        assert!(item.is_complete, "a checksum is over contents");
        let (key, value) = item.to_record();
        self.0.update(&key);
        self.0.update(&value);
    }

    /// The checksum of all of them.
    pub fn value(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
pub(crate) mod tests;
