//! The state machine: what a log entry does to the store, and what the store can then be asked.
//!
//! # Path
//! `store_handle::Handle::propose` → the log → `State::apply` → records to disk, changes to watchers, replies
//!
//! # Invariants
//! - `restore(export(s)) == s`, and so is a restore of all records ever written, applied in order.
//! - A command that is refused changes nothing.
//! - Time never goes back: it is the latest that any proposer has seen.

use crate::codec;
use crate::keyspace::{Keyspace, Version};
use crate::lease::Lessor;
use crate::range::{self, Span};
use crate::record::{self, Corrupt, Meta, Parsed, Record};
use crate::txn;
use crate::types::{
    Batch, Change, Command, Error, Fenced, KeyRange, KeyValue, LeaseId, LeaseInfo, RangeReply,
    RangeRequest, Reply, Revision, Term,
};
use crate::writer::Writer;

/// Lines of history that one page reads at most: bounds how long a reader holds the state.
const PAGE_READS_MAX: usize = 4096;

/// The store's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) keys: Keyspace,
    pub(crate) lessor: Lessor,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    now_ms: u64,
}

/// What one entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each command, in order.
    pub replies: Vec<Result<Reply, Error>>,
    /// One for each revision taken, in order.
    pub changes: Vec<Change>,
    /// What must be stored, in order, in one atomic batch.
    pub writes: Vec<Record>,
}

/// A piece of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub changes: Vec<Change>,
    /// The last revision that the page covers: the next page begins after it.
    pub through: Revision,
    /// Whether there was nothing after it when it was read.
    pub is_last: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            keys: Keyspace::default(),
            lessor: Lessor::default(),
            revision: 1,
            compacted: 0,
            now_ms: 0,
        }
    }
}

impl State {
    /// Applies one log entry, proposed in `entry_term`.
    pub fn apply(&mut self, entry_term: Term, batch: &Batch) -> Applied {
        let before = self.meta();
        let mut applied = Applied::default();
        applied.replies.reserve_exact(batch.commands.len());
        self.now_ms = self.now_ms.max(batch.now_ms);
        for Fenced { fence, command } in &batch.commands {
            applied.replies.push(match *fence {
                Some(proposed) if proposed != entry_term => {
                    Err(Error::Fenced { proposed, applied: entry_term })
                }
                _ => self.run(command, &mut applied.changes, &mut applied.writes),
            });
        }
        let meta = self.meta();
        if meta != before {
            let value = codec::encode(&meta);
            applied.writes.push(Record::Put { key: record::meta_key(), value });
        }
        applied
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

    /// How many keys have any version in history, deleted ones included.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Reads.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        range::read(&self.keys, self.span(), request)
    }

    /// Everything that happened in `range` from revision `from` on. May be large: see [`State::page`].
    pub fn events_since(&self, range: &KeyRange, from: Revision) -> Result<Vec<Change>, Error> {
        self.check_history(from)?;
        Ok(self.keys.changes(range, from, usize::MAX, usize::MAX).0)
    }

    /// What happened in `range` from revision `from` on, at most `changes_max` changes of it.
    pub fn page(
        &self,
        range: &KeyRange,
        from: Revision,
        changes_max: usize,
    ) -> Result<Page, Error> {
        self.check_history(from)?;
        let (changes, next) = self.keys.changes(range, from, changes_max.max(1), PAGE_READS_MAX);
        let through = next.map_or(self.revision, |next| next - 1);
        Ok(Page { changes, through, is_last: next.is_none() })
    }

    /// A checksum of every version of every key up to `revision` (0: the latest), and that revision.
    /// Members that have applied and compacted the same have the same one.
    pub fn hash(&self, revision: Revision) -> Result<(u32, Revision), Error> {
        let revision = self.span().resolve(revision)?;
        let mut hasher = crc32fast::Hasher::new();
        let versions = self.keys.versions();
        for (key, version) in versions.filter(|(_, version)| version.mod_revision <= revision) {
            hasher.update(&record::version_key(version.mod_revision, version.sub));
            hasher.update(&record::encode_version(&version.to_key_value(key)));
        }
        Ok((hasher.finalize(), revision))
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

    /// All records of the state, to be streamed or stored.
    pub fn export(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let meta = (record::meta_key(), codec::encode(&self.meta()));
        let lease = |(id, lease)| (record::lease_key(id), codec::encode(&lease));
        let version = |(key, version): (_, &Version)| {
            let value = record::encode_version(&version.to_key_value(key));
            (record::version_key(version.mod_revision, version.sub), value)
        };
        let leases = self.lessor.records().map(lease);
        std::iter::once(meta).chain(leases).chain(self.keys.versions().map(version))
    }

    /// The state whose records these are, in any order. No records at all are the empty state.
    pub fn restore(records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, Corrupt> {
        let mut state = Self::default();
        let mut versions = Vec::new();
        let mut meta = None;
        for (key, value) in records {
            match record::parse(&key, &value)? {
                Parsed::Meta(read) => meta = Some(read),
                Parsed::Lease(id, _) if state.lessor.exists(id) => {
                    return Err(Corrupt::new(&key, "a second record of this lease"));
                }
                Parsed::Lease(id, lease) => state.lessor.restore(id, &lease),
                Parsed::Version(sub, kv) => versions.push((sub, kv)),
            }
        }
        match meta {
            Some(meta) => state.set_meta(&meta),
            None if versions.is_empty() && state.lessor.next_due_ms().is_none() => {
                return Ok(state);
            }
            None => return Err(Corrupt::new(&record::meta_key(), "missing")),
        }
        versions.sort_by_key(|(sub, kv)| (kv.mod_revision, *sub));
        for (sub, kv) in versions {
            state.restore_version(sub, kv)?;
        }
        state.restore_attachments();
        Ok(state)
    }

    pub(crate) fn span(&self) -> Span {
        Span { latest: self.revision, compacted: self.compacted }
    }

    fn run(
        &mut self,
        command: &Command,
        changes: &mut Vec<Change>,
        writes: &mut Vec<Record>,
    ) -> Result<Reply, Error> {
        match command {
            Command::Txn(txn) => {
                let path = txn::plan(self, txn)?;
                let mut writer = Writer::new(self, writes);
                let reply = txn::run(&mut writer, &path);
                changes.extend(writer.finish());
                Ok(Reply::Txn(reply))
            }
            Command::LeaseGrant { id, ttl_s } => {
                let (id, lease) = self.lessor.grant(*id, *ttl_s, self.now_ms)?;
                let value = codec::encode(&lease);
                writes.push(Record::Put { key: record::lease_key(id), value });
                Ok(Reply::LeaseGranted { revision: self.revision, id, ttl_s: lease.ttl_s })
            }
            Command::LeaseRevoke { id } => {
                if !self.lessor.exists(*id) {
                    return Err(Error::LeaseNotFound { id: *id });
                }
                changes.extend(self.revoke(&[*id], writes));
                Ok(Reply::LeaseRevoked { revision: self.revision })
            }
            Command::LeaseKeepAlive { id } => {
                let renewed = self.lessor.renew(*id, self.now_ms);
                if let Some(lease) = &renewed {
                    let value = codec::encode(lease);
                    writes.push(Record::Put { key: record::lease_key(*id), value });
                }
                let ttl_s = renewed.map_or(0, |lease| lease.ttl_s);
                Ok(Reply::LeaseKeptAlive { revision: self.revision, ttl_s })
            }
            Command::LeaseExpire { ids } => {
                let due = |id: &LeaseId| self.lessor.is_due(*id, self.now_ms);
                let mut ids: Vec<_> = ids.iter().copied().filter(due).collect();
                ids.sort_unstable();
                ids.dedup();
                changes.extend(self.revoke(&ids, writes));
                Ok(Reply::LeasesExpired { revision: self.revision, count: ids.len() })
            }
            Command::Compact { revision } => self.compact(*revision, writes),
        }
    }

    /// Ends leases that exist, with their keys, as one revision.
    fn revoke(&mut self, ids: &[LeaseId], writes: &mut Vec<Record>) -> Option<Change> {
        let mut keys = Vec::new();
        for id in ids {
            keys.extend(self.lessor.remove(*id).expect("the caller names leases that exist"));
            writes.push(Record::Delete { key: record::lease_key(*id) });
        }
        keys.sort_unstable();
        let mut writer = Writer::new(self, writes);
        for key in &keys {
            writer.delete(key).expect("a lease's keys exist");
        }
        writer.finish()
    }

    fn compact(&mut self, asked: Revision, writes: &mut Vec<Record>) -> Result<Reply, Error> {
        if asked <= self.compacted {
            return Err(Error::Compacted { asked, oldest: self.compacted });
        }
        if asked > self.revision {
            return Err(Error::FutureRevision { asked, latest: self.revision });
        }
        self.compacted = asked;
        self.keys.compact(asked, |version| {
            let key = record::version_key(version.mod_revision, version.sub);
            writes.push(Record::Delete { key });
        });
        Ok(Reply::Compacted { revision: self.revision })
    }

    fn check_history(&self, from: Revision) -> Result<(), Error> {
        if from < self.compacted {
            return Err(Error::Compacted { asked: from, oldest: self.compacted });
        }
        Ok(())
    }

    fn meta(&self) -> Meta {
        Meta {
            revision: self.revision,
            compacted: self.compacted,
            now_ms: self.now_ms,
            last_lease: self.lessor.last_id,
        }
    }

    fn set_meta(&mut self, meta: &Meta) {
        self.revision = meta.revision;
        self.compacted = meta.compacted;
        self.now_ms = meta.now_ms;
        self.lessor.last_id = meta.last_lease;
    }

    fn restore_version(&mut self, sub: u32, kv: KeyValue) -> Result<(), Corrupt> {
        let corrupt =
            |reason| Err(Corrupt::new(&record::version_key(kv.mod_revision, sub), reason));
        if kv.mod_revision > self.revision {
            return corrupt("later than the store's revision");
        }
        if kv.lease != 0 && kv.version == 0 {
            return corrupt("a tombstone with a lease");
        }
        if self.keys.newest_revision(&kv.key) >= kv.mod_revision {
            return corrupt("a second version of its key in one revision");
        }
        let version = Version {
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            sub,
            version: kv.version,
            lease: kv.lease,
        };
        self.keys.restore(kv.key, version, self.compacted);
        Ok(())
    }

    fn restore_attachments(&mut self) {
        let all = KeyRange::prefix("");
        for (key, version) in self.keys.live(&all, Revision::MAX) {
            self.lessor.attach(key, 0, version.lease);
        }
    }
}

#[cfg(test)]
mod tests;
