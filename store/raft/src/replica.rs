//! One member's copy of the store: the state in memory, its records on disk, and how far it is applied.
//!
//! # Invariants
//! - A batch's records and the id of its entry reach the disk together, or not at all.
//! - Changes are published in the order in which they are applied.
//! - A member that was removed stays on the list of those removed for ever.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use openraft::EntryPayload;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store_handle::hub::Hub;
use store_handle::{Batch, Error, MemberId, Reply, Revision, Term};
use store_mvcc::{Record, State, codec, record};
use tokio::sync::watch;

use crate::disk::{StateDisk, StateReplacement, StateView};
use crate::snapshot::SnapshotData;
use crate::types::{Entry, LogId, Membership, Snapshot, SnapshotMeta};

/// The record that holds the id of the last entry applied.
const APPLIED: &[u8] = b"A";

/// The record that holds the group's members, and those removed.
const MEMBERS: &[u8] = b"M";

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
}

#[derive(Debug, Default)]
struct Meta {
    applied: Option<LogId>,
    members: (Membership, BTreeSet<MemberId>),
}

/// One member's copy.
#[derive(Debug)]
pub struct Replica {
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) hub: Arc<Hub>,
    disk: Arc<dyn StateDisk>,
    meta: Mutex<Meta>,
    progress: watch::Sender<Progress>,
}

impl Replica {
    /// The copy that `disk` holds.
    pub fn open(disk: Arc<dyn StateDisk>) -> io::Result<Self> {
        let (state, meta) = load(&*disk)?;
        let progress = watch::Sender::new(progress_of(&state, &meta));
        let state = Arc::new(RwLock::new(state));
        Ok(Self { state, hub: Hub::new(), disk, meta: Mutex::new(meta), progress })
    }

    /// How far it is applied; every change is seen.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
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

    /// Applies entries, in order; one list of replies for each.
    pub(crate) fn apply(&self, entries: Vec<Entry>) -> io::Result<Vec<EntryReplies>> {
        let mut writes = Vec::new();
        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(entries.len());
        let mut meta = self.meta.lock();
        let mut state = self.state.write();
        for entry in entries {
            let id = entry.log_id;
            assert!(meta.applied < Some(id), "entries are applied once, in order");
            meta.applied = Some(id);
            replies.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Membership(membership) => {
                    meta.change_members(Membership::new(Some(id), membership));
                    writes.push(put(MEMBERS, &meta.members));
                    Vec::new()
                }
                EntryPayload::Normal(proposal) => {
                    let batch: Batch = decode(&proposal.0)?;
                    let applied = state.apply(Term(id.committed_leader_id().term), &batch);
                    writes.extend(applied.writes);
                    changes.extend(applied.changes);
                    applied.replies
                }
            });
        }
        writes.push(put(APPLIED, &meta.applied));
        self.disk.write(writes)?;
        self.hub.publish(&changes);
        let progress = progress_of(&state, &meta);
        drop((state, meta));
        self.progress.send_replace(progress);
        Ok(replies)
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
        replacement.install()?;
        let (new_state, new_meta) = load(&*self.disk)?;
        assert_eq!(new_meta.applied, expected.last_log_id, "a snapshot holds what it says");
        let progress = progress_of(&new_state, &new_meta);
        *self.meta.lock() = new_meta;
        *self.state.write() = new_state;
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
    Progress { index, term, revision: state.revision() }
}

fn load(disk: &dyn StateDisk) -> io::Result<(State, Meta)> {
    let mut records = Vec::new();
    let mut own = Vec::new();
    disk.load(&mut |(key, value)| {
        if record::is_state(&key) { records.push((key, value)) } else { own.push((key, value)) }
    })?;
    let mut meta = Meta::default();
    for (key, value) in own {
        match &key[..] {
            APPLIED => meta.applied = decode(&value)?,
            MEMBERS => meta.members = decode(&value)?,
            _ => return Err(corrupt(format!("unknown record {key:02x?}"))),
        }
    }
    let state = State::restore(records).map_err(|error| corrupt(error.to_string()))?;
    Ok((state, meta))
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
