//! One member's copy of the store: the state in memory, its records on disk, and how far it is applied.
//!
//! # Invariants
//! - A batch's records and the id of its entry reach the disk together, or not at all.
//! - What the state in memory does not hold is on this disk: values leave it only after they were written,
//!   and records only after the state has forgotten them.
//! - Changes are published in the order in which they are applied.
//! - A member that was removed stays on the list of those removed for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use openraft::EntryPayload;
use parking_lot::{Mutex, RwLockWriteGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store_handle::contents::Contents;
use store_handle::figures::Counts;
use store_handle::hub::Hub;
use store_handle::{Batch, Change, Error, MemberId, Reply, Revision, Term};
use store_mvcc::codec::{CodecError, FormatVersion};
use store_mvcc::{Lack, Record, Restore, State, Versions, codec, record};
use tokio::sync::{Notify, watch};

use crate::disk::{Each, StateDisk, StateReplacement, StateView};
use crate::format;
use crate::snapshot::SnapshotData;
use crate::step::{Step, What};
use crate::types::{Entry, LogId, MemberNode, Membership, Proposal, Snapshot, SnapshotMeta};

/// The record that holds the id of the last entry applied.
const APPLIED: &[u8] = b"A";

/// The record that holds the group's members, and those removed.
const MEMBERS: &[u8] = b"M";

/// Watchers that can be told of a change while everything else waits.
const WATCHERS_SHORT_MAX: usize = 256;

/// One reply for each command of an entry.
pub(crate) type EntryReplies = Vec<Result<Reply, Error>>;

/// How far this member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The state's revision.
    pub revision: Revision,
    /// The latest time in the log.
    pub now_ms: u64,
}

/// What a replica would be.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) membership: Membership,
    pub(crate) revision: Revision,
    pub(crate) now_ms: u64,
}

/// When replaced values are read that are not in memory and that watchers want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    Now,
    /// By those who watch, from history.
    Later,
}

#[derive(Debug, Default)]
struct Meta {
    applied: Option<LogId>,
    members: (Membership, BTreeSet<MemberId>),
}

/// One member's copy.
#[derive(Debug)]
pub struct Replica {
    pub(crate) contents: Arc<Contents>,
    pub(crate) hub: Arc<Hub>,
    disk: Arc<dyn StateDisk>,
    /// Bytes of values that the state keeps in memory, at most; `None` means all latest ones.
    cache_bytes: Option<usize>,
    meta: Mutex<Meta>,
    progress: watch::Sender<Progress>,
    /// Told when there is something to sweep.
    pub(crate) unswept: Notify,
    /// What was applied and swept by this process.
    counts: Mutex<Counts>,
    /// The latest version of entries that is read here.
    reads_format: FormatVersion,
    /// What the members have agreed to write.
    agreed_format: AtomicU8,
}

impl Replica {
    /// The copy that `disk` holds, with at most `cache_bytes` of values in memory; `None` means all
    /// latest ones.
    pub fn open(disk: Arc<dyn StateDisk>, cache_bytes: Option<usize>) -> io::Result<Self> {
        let (state, meta) = load(cache_bytes, |each| disk.load(each))?;
        let progress = watch::Sender::new(progress_of(&state, &meta));
        let contents = Arc::new(Contents::new(state, Arc::new(Stored(disk.clone()))));
        let agreed_format = AtomicU8::new(format::agreed(&meta.members.0));
        Ok(Self {
            contents,
            hub: Hub::new(),
            disk,
            cache_bytes,
            meta: Mutex::new(meta),
            progress,
            unswept: Notify::new(),
            counts: Mutex::default(),
            reads_format: codec::VERSION,
            agreed_format,
        })
    }

    /// One that reads entries up to this version.
    pub(crate) fn reading(self, reads_format: FormatVersion) -> Self {
        Self { reads_format, ..self }
    }

    /// The version that entries are written in: the latest that this member and all others read.
    pub(crate) fn format(&self) -> FormatVersion {
        self.agreed_format.load(Ordering::Relaxed).min(self.reads_format)
    }

    fn agree(&self, meta: &Meta) {
        self.agreed_format.store(format::agreed(&meta.members.0), Ordering::Relaxed);
    }

    fn batch(&self, id: LogId, proposal: &Proposal) -> io::Result<Batch> {
        let batch = codec::decode_upto(self.reads_format, &proposal.0);
        batch.map_err(|error| match error {
            CodecError::UnknownVersion { version } => corrupt(format!(
                "entry {} is written in format {version}, and this release reads up to {}: run a later release",
                id.index, self.reads_format
            )),
            other => corrupt(format!("entry {}: {other}", id.index)),
        })
    }

    /// How far it is applied; every change is seen.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The state's revision.
    pub(crate) fn revision(&self) -> Revision {
        self.contents.read().revision()
    }

    /// What was applied and swept by this process.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// The group's members as applied.
    pub fn membership(&self) -> Membership {
        self.meta.lock().members.0.clone()
    }

    /// Whether `id` was removed from the group.
    pub fn was_removed(&self, id: MemberId) -> bool {
        self.meta.lock().members.1.contains(&id)
    }

    pub(crate) fn snapshot_meta(&self) -> SnapshotMeta {
        let meta = self.meta.lock();
        SnapshotMeta { last_log_id: meta.applied, last_membership: meta.members.0.clone() }
    }

    /// Reads entries.
    pub(crate) fn steps(&self, entries: Vec<Entry>) -> io::Result<Vec<Step>> {
        let step = |entry: Entry| {
            let id = entry.log_id;
            let what = match entry.payload {
                EntryPayload::Blank => What::Nothing,
                EntryPayload::Membership(members) => {
                    What::Members(Membership::new(Some(id), members))
                }
                EntryPayload::Normal(proposal) => What::Commands(self.batch(id, &proposal)?),
            };
            Ok(Step { id, what })
        };
        entries.into_iter().map(step).collect()
    }

    /// Applies entries, in order; one list of replies for each.
    pub(crate) fn apply(&self, steps: Vec<Step>) -> io::Result<Vec<EntryReplies>> {
        let mut meta = self.meta.lock();
        self.apply_to(&mut meta, self.contents.write(), steps, Fetch::Now)
    }

    /// As [`Replica::apply`], if that is certain to be short and has to wait for nobody: not for readers, a sweep,
    /// or the disk. Else the steps are given back.
    pub(crate) fn try_apply(
        &self,
        steps: Vec<Step>,
    ) -> Result<io::Result<Vec<EntryReplies>>, Vec<Step>> {
        let watchers = self.hub.synced();
        if watchers > WATCHERS_SHORT_MAX || !self.disk.is_ready() {
            return Err(steps);
        }
        let Some(mut meta) = self.meta.try_lock() else { return Err(steps) };
        match self.contents.try_write() {
            Some(state) if steps.iter().all(|step| step.is_short(&state, watchers > 0)) => {
                Ok(self.apply_to(&mut meta, state, steps, Fetch::Later))
            }
            _ => Err(steps),
        }
    }

    fn apply_to(
        &self,
        meta: &mut Meta,
        mut state: RwLockWriteGuard<'_, State>,
        steps: Vec<Step>,
        fetch: Fetch,
    ) -> io::Result<Vec<EntryReplies>> {
        let mut writes = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        let mut lacks: Vec<Lack> = Vec::new();
        let mut replies: Vec<EntryReplies> = Vec::with_capacity(steps.len());
        for Step { id, what } in steps {
            assert!(meta.applied < Some(id), "entries are applied once, in order");
            meta.applied = Some(id);
            replies.push(match what {
                What::Nothing => Vec::new(),
                What::Members(membership) => {
                    meta.change_members(membership);
                    self.agree(meta);
                    writes.push(put(MEMBERS, &meta.members));
                    Vec::new()
                }
                What::Commands(batch) => {
                    let term = Term(id.committed_leader_id().term);
                    let applied = state.apply(term, &batch, self.contents.stored());
                    writes.extend(applied.writes);
                    let before = changes.len();
                    lacks.extend(applied.lacks.into_iter().map(|lack| lack.after(before)));
                    changes.extend(applied.changes);
                    applied.replies
                }
            });
        }
        writes.push(put(APPLIED, &meta.applied));
        self.disk.write(writes)?;
        state.settle();
        let mut counts = self.counts.lock();
        replies.iter().flatten().for_each(|reply| counts.note(reply));
        counts.written(&changes);
        drop(counts);
        if !state.is_swept() {
            self.unswept.notify_one();
        }
        // A disk is asked for replaced values only if somebody watches. Who comes just now reads them
        // from history.
        if fetch == Fetch::Now && self.hub.is_watched() {
            lacks.drain(..).for_each(|lack| lack.fill(&mut changes, self.contents.stored()));
        }
        let lacking: Vec<_> = lacks.iter().map(|lack| changes[lack.change].revision).collect();
        self.hub.publish_all_but(&changes, &lacking);
        let progress = progress_of(&state, meta);
        drop(state);
        self.progress.send_replace(progress);
        Ok(replies)
    }

    /// Whether everything that was compacted is gone from the disk.
    pub(crate) fn is_swept(&self) -> bool {
        self.contents.read().is_swept()
    }

    /// Removes a part of what was compacted: from memory first, so that nobody looks for it on the disk.
    /// Each member does it at its own pace.
    ///
    /// Returns how many records it deleted.
    pub(crate) fn sweep(&self, versions_max: usize, unix_ms: u64) -> io::Result<usize> {
        // Nothing is applied meanwhile: memory and disk forget together.
        let _meta = self.meta.lock();
        let writes = self.contents.write().sweep(versions_max);
        let deleted = writes.len();
        if deleted > 0 {
            self.disk.write(writes)?;
            let mut counts = self.counts.lock();
            counts.swept += deleted as u64;
            counts.swept_unix_ms = unix_ms;
        }
        Ok(deleted)
    }

    /// What would be after these entries too, without a change to anything.
    pub(crate) fn preview(
        &self,
        mut next: impl FnMut(u64) -> io::Result<Vec<Entry>>,
    ) -> io::Result<Preview> {
        let (mut state, meta) = load(self.cache_bytes, |each| self.disk.load(each))?;
        let (mut applied, mut membership) = (meta.applied, meta.members.0);
        loop {
            let entries = next(applied.map_or(0, |id| id.index + 1))?;
            if entries.is_empty() {
                let (revision, now_ms) = (state.revision(), state.now_ms());
                return Ok(Preview { membership, revision, now_ms });
            }
            for entry in entries {
                applied = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(new) => membership = Membership::new(applied, new),
                    EntryPayload::Normal(proposal) => {
                        let term = Term(entry.log_id.committed_leader_id().term);
                        let batch = self.batch(entry.log_id, &proposal)?;
                        state.apply(term, &batch, self.contents.stored());
                    }
                }
            }
        }
    }

    /// Begins a new group with what is applied: `id` stands for everything before it, `members` are the voters
    /// (all others that there were are removed), and revisions go on `leap` later. Durable when it returns.
    pub(crate) fn rebase(
        &self,
        id: LogId,
        members: BTreeMap<MemberId, MemberNode>,
        leap: Option<Revision>,
    ) -> io::Result<()> {
        let mut meta = self.meta.lock();
        if meta.applied != Some(id) {
            let voters = members.keys().copied().collect();
            let membership = openraft::Membership::new(vec![voters], members);
            let membership = membership.map_err(|error| corrupt(error.to_string()))?;
            let mut writes = Vec::new();
            if let Some(by) = leap {
                writes = self.contents.write().leap(by);
            }
            meta.applied = Some(id);
            meta.change_members(Membership::new(Some(id), membership));
            writes.push(put(MEMBERS, &meta.members));
            writes.push(put(APPLIED, &meta.applied));
            self.disk.write(writes)?;
        }
        self.disk.flush()
    }

    /// Makes what is applied durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    /// The state as it is, to be sent to a member that is too far behind.
    pub(crate) fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let meta = self.snapshot_meta();
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        let snapshot = SnapshotData::View(self.disk.view()?);
        Ok(Some(Snapshot { meta, snapshot }))
    }

    /// All records as they are on disk, the group's own among them.
    pub(crate) fn view(&self) -> io::Result<Box<dyn StateView>> {
        self.disk.view()
    }

    /// Begins to take in another member's state.
    pub(crate) fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>> {
        self.disk.begin_replace()
    }

    /// Puts a received state in this one's place: durable first, then in memory, then for watchers.
    pub(crate) fn install(
        &self,
        expected: &SnapshotMeta,
        replacement: Box<dyn StateReplacement>,
    ) -> io::Result<()> {
        let (new_state, new_meta) = load(self.cache_bytes, |each| replacement.load(each))?;
        assert_eq!(new_meta.applied, expected.last_log_id, "a snapshot holds what it says");
        let progress = progress_of(&new_state, &new_meta);
        {
            // Nobody looks on one disk for what is on the other.
            let (mut meta, mut state) = (self.meta.lock(), self.contents.write());
            replacement.install()?;
            self.agree(&new_meta);
            (*meta, *state) = (new_meta, new_state);
        }
        self.unswept.notify_one();
        self.hub.reset();
        self.progress.send_replace(progress);
        Ok(())
    }
}

impl Meta {
    fn change_members(&mut self, new: Membership) {
        let (old, removed) = &mut self.members;
        let stays: BTreeSet<MemberId> = new.membership().nodes().map(|(id, _)| *id).collect();
        let was = old.membership().nodes().map(|(id, _)| *id);
        removed.extend(was.filter(|id| !stays.contains(id)));
        *old = new;
    }
}

fn progress_of(state: &State, meta: &Meta) -> Progress {
    let (index, term) = meta.applied.map_or((0, 0), |id| (id.index, id.committed_leader_id().term));
    Progress { index, term, revision: state.revision(), now_ms: state.now_ms() }
}

fn load(
    cache_bytes: Option<usize>,
    records: impl FnOnce(&mut Each<'_>) -> io::Result<()>,
) -> io::Result<(State, Meta)> {
    let mut restore = Restore::new(cache_bytes);
    let mut meta = Meta::default();
    records(&mut |key, value| {
        match key {
            APPLIED => meta.applied = decode(value)?,
            MEMBERS => meta.members = decode(value)?,
            _ if record::is_state(key) => {
                restore.add(key, value).map_err(|error| corrupt(error.to_string()))?;
            }
            _ => return Err(corrupt(format!("unknown record {key:02x?}"))),
        }
        Ok(())
    })?;
    let state = restore.finish().map_err(|error| corrupt(error.to_string()))?;
    Ok((state, meta))
}

/// The disk, as the state reads what it does not hold.
#[derive(Debug)]
struct Stored(Arc<dyn StateDisk>);

impl Versions for Stored {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(|error| error.to_string())
    }
}

fn put<T: Serialize>(key: &[u8], value: &T) -> Record {
    Record::Put { key: key.to_vec(), value: codec::encode(value) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    codec::decode(bytes).map_err(|error| corrupt(error.to_string()))
}

fn corrupt(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryState;
    use crate::types::CommittedLeaderId;

    #[test]
    fn member_knows_that_it_was_removed_after_a_restart_too() {
        let disk = Arc::new(MemoryState::default());
        let replica = Replica::open(disk.clone(), None).unwrap();
        let group = |index, ids: &[MemberId]| {
            let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, MemberNode::default())).collect();
            let members = openraft::Membership::new(vec![ids.iter().copied().collect()], nodes);
            let log_id = LogId::new(CommittedLeaderId::new(1), index);
            Entry { log_id, payload: EntryPayload::Membership(members.unwrap()) }
        };
        let apply = |entry| replica.apply(replica.steps(vec![entry]).unwrap()).unwrap();
        apply(group(1, &[1, 2]));
        assert!(!replica.was_removed(1));
        apply(group(2, &[2]));
        let again = Replica::open(disk, None).unwrap();
        for replica in [&replica, &again] {
            assert!(replica.was_removed(1) && !replica.was_removed(2));
        }
    }
}
