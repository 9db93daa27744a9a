//! Every key with its latest version, where its older versions stand, and the order in which all were written.
//!
//! ```text
//! put a=1   put b=1   put a=2   delete b      compact 3
//!   r2        r3        r4        r5          keeps: a@2, a@4, b@3, b†5
//!
//! keys   a: [older: @2] latest: a@4           a key's versions, oldest first
//!        b: [older: @3] latest: b†5
//! log    r3 b · r4 a · r5 b                   who wrote what, from `compacted` on
//! ```
//! Values are reference counted: a reader, an event and this share the bytes. Only latest values are
//! here; older versions, and latest values beyond a bound, are read from their records ([`Versions`]).
//!
//! # Invariants
//! - The versions of a key ascend by revision; a revision writes a key once.
//! - `log` holds the versions of revision `compacted` and later, in order, and what is still to be swept.
//! - Every version later than `settled` can be had without a record: it is the latest, or in `unsettled`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::history::{History, Older, Seen, Version};
use crate::residents::Residents;
use crate::types::{KeyRange, KeyValue, Revision};
use crate::versions::{Position, Unreadable, Versions};

/// A key's bytes, shared by all who name it here.
pub(crate) type Key = Arc<[u8]>;

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) revision: Revision,
    pub(crate) sub: u32,
    pub(crate) key: Key,
}

/// A version that was written.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) version: Version,
    /// The one before it, unless that is a tombstone; and its value, if it was in memory.
    pub(crate) replaced: Option<(Version, Option<Bytes>)>,
}

/// Stored versions, on their way back.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order in which they were written.
    lines: Vec<Written>,
    /// With the index of their line.
    versions: Vec<(usize, Version)>,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// All keys.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    keys: BTreeMap<Key, History>,
    log: VecDeque<Written>,
    /// Lines at the front of the log whose keys are swept, and that stay: all of revision `compacted`.
    swept: usize,
    /// Stored versions that the last restore found forgotten; of a key, the oldest first: what a tombstone
    /// has buried must not outlive it.
    debris: VecDeque<Position>,
    residents: Residents,
    /// Everything up to here is stored.
    settled: Revision,
    /// Versions that were replaced before they were stored.
    unsettled: BTreeMap<Position, KeyValue>,
}

impl Keyspace {
    pub(crate) fn new(resident_bytes_max: Option<usize>) -> Self {
        Self {
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            swept: 0,
            debris: VecDeque::new(),
            residents: Residents::new(resident_bytes_max),
            settled: 0,
            unsettled: BTreeMap::new(),
        }
    }

    /// The key's latest version, unless it is deleted.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<&Version> {
        let history = self.keys.get(key)?;
        Some(&history.latest).filter(|latest| !latest.is_tombstone())
    }

    /// The keys of `range` that exist now, in order.
    pub(crate) fn live_now(&self, range: &KeyRange) -> impl Iterator<Item = (&Key, &Version)> {
        let latest = self.within(range).map(|(key, history)| (key, &history.latest));
        latest.filter(|(_, latest)| !latest.is_tombstone())
    }

    /// The keys of `range` as of `revision`, in order.
    pub(crate) fn live<'a>(
        &'a self,
        range: &KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Key, Seen<'a>)> + use<'a> {
        self.within(range).filter_map(move |(key, history)| Some((key, history.at(revision)?)))
    }

    /// The value of a key's latest version, if it is in memory.
    pub(crate) fn value(&self, latest: &Version) -> Option<&Bytes> {
        self.residents.get(latest.place, latest.position())
    }

    /// A version as far as it is in memory, and where the rest of it is.
    pub(crate) fn to_key_value(&self, seen: Seen<'_>, key: Bytes) -> (KeyValue, Option<Position>) {
        match seen {
            Seen::Latest(version) => {
                let value = self.value(version);
                let absent = value.is_none().then(|| version.position());
                (version.to_key_value(key, value.cloned().unwrap_or_default()), absent)
            }
            Seen::Older(older) => {
                let kv = KeyValue { key, mod_revision: older.revision, ..KeyValue::default() };
                (kv, (!older.is_tombstone).then(|| older.position()))
            }
        }
    }

    /// Writes the version, with its value, that `next` makes of the key's latest one: one search for both.
    pub(crate) fn write(
        &mut self,
        key: &[u8],
        value: Bytes,
        next: impl FnOnce(Option<&Version>) -> Version,
    ) -> Replacement {
        let residents = &mut self.residents;
        let next = |before: Option<&Version>| {
            let mut version = next(before.filter(|before| !before.is_tombstone()));
            version.place = residents.hold(version.position(), value);
            version
        };
        // The search costs an allocation that is not needed if the key is there.
        let (key, version, replaced) = match self.keys.entry(Key::from(key)) {
            Entry::Occupied(mut known) => {
                let version = next(Some(&known.get().latest));
                let replaced = known.get_mut().push(version.clone());
                (known.key().clone(), version, Some(replaced))
            }
            Entry::Vacant(free) => {
                let version = next(None);
                (free.key().clone(), free.insert(History::new(version)).latest.clone(), None)
            }
        };
        let Position { revision, sub } = version.position();
        if let Some(last) = self.log.back() {
            assert!((last.revision, last.sub) < (revision, sub), "the log ascends");
        }
        self.log.push_back(Written { revision, sub, key: key.clone() });
        let replaced = replaced.and_then(|replaced| {
            let value = self.residents.take(replaced.place, replaced.position());
            if replaced.mod_revision > self.settled {
                let value = value.clone().expect("what is not stored yet is in memory");
                let kv = replaced.to_key_value(Bytes::copy_from_slice(&key), value);
                self.unsettled.insert(replaced.position(), kv);
            }
            (!replaced.is_tombstone()).then_some((replaced, value))
        });
        Replacement { version, replaced }
    }

    /// Everything up to `revision` is stored: what is too much for memory may go.
    pub(crate) fn settle(&mut self, revision: Revision) {
        self.settled = revision;
        self.unsettled.clear();
        self.residents.drop_surplus();
    }

    /// Begins to forget what a compaction at a later revision than before does not keep.
    pub(crate) fn begin_sweep(&mut self) {
        self.swept = 0;
    }

    pub(crate) fn is_swept(&self, compacted: Revision) -> bool {
        self.debris.is_empty()
            && self.log.get(self.swept).is_none_or(|written| written.revision > compacted)
    }

    /// Forgets a part of what a compaction at `compacted` does not keep, looking at `lines_max` lines of
    /// the log; names each version to `dropped`. All of it costs as much as there was written since the
    /// last compaction, not as much as there is.
    pub(crate) fn sweep(
        &mut self,
        compacted: Revision,
        lines_max: usize,
        mut dropped: impl FnMut(Position),
    ) {
        let debris = lines_max.min(self.debris.len());
        self.debris.drain(..debris).for_each(&mut dropped);
        for _ in 0..lines_max {
            let Some(written) = self.log.get(self.swept) else { break };
            if written.revision > compacted {
                break;
            }
            // A key written often is met often: but for the first time, there is nothing left to do.
            if let Some(history) = self.keys.get_mut(&written.key)
                && !history.compact(compacted, &mut dropped)
            {
                self.keys.remove(&written.key);
            }
            if written.revision < compacted {
                self.log.pop_front();
            } else {
                self.swept += 1;
            }
        }
        if self.log.capacity() > 4 * self.log.len() + 64 {
            self.log.shrink_to(2 * self.log.len());
        }
    }

    /// The lines of the log from revision `from` on.
    pub(crate) fn log_from(&self, from: Revision) -> impl Iterator<Item = &Written> {
        let start = self.log.partition_point(|written| written.revision < from);
        self.log.range(start..)
    }

    /// The version that a line of the log wrote, and the live one that it replaced.
    pub(crate) fn written(&self, written: &Written) -> (Seen<'_>, Option<Older>) {
        let history = self.keys.get(&written.key).expect("the log names only keys that exist");
        history.written_at(written.revision)
    }

    /// How many keys have any version, deleted ones included, and those that are still to be swept.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What values in memory cost, as far as they can leave it.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.residents.bytes()
    }

    /// Every version that a compaction at `compacted` keeps, by key and age, from the key after `after` on.
    pub(crate) fn kept(
        &self,
        after: Option<&[u8]>,
        compacted: Revision,
    ) -> impl Iterator<Item = (&Key, Seen<'_>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.keys.range::<[u8], _>((start, Bound::Unbounded));
        keys.flat_map(move |(key, history)| history.kept(compacted).map(move |seen| (key, seen)))
    }

    /// Takes a stored version into `batch`; call in the order in which they were written. Its value stays in
    /// memory if there is room.
    pub(crate) fn collect(
        &mut self,
        batch: &mut Batch,
        key: &[u8],
        mut version: Version,
        value: &[u8],
    ) {
        let Position { revision, sub } = version.position();
        if self.residents.fits(value.len()) {
            let value = Bytes::copy_from_slice(value);
            version.place = self.residents.hold(version.position(), value);
        }
        batch.lines.push(Written { revision, sub, key: key.into() });
        batch.versions.push((batch.versions.len(), version));
    }

    /// Takes back a batch, later than all that was taken back before. Fails with the place of a version whose
    /// key has another of the same revision.
    pub(crate) fn restore(&mut self, batch: Batch, compacted: Revision) -> Result<(), Position> {
        let Batch { mut lines, mut versions } = batch;
        // The way to a key is then in the processor's caches, from the one before: of a million keys, that
        // counts. Versions of one key stay in the order in which they were written.
        versions.sort_by(|(a, _), (b, _)| lines[*a].key.cmp(&lines[*b].key));
        for (index, version) in versions {
            let key = &mut lines[index].key;
            match self.keys.entry(key.clone()) {
                Entry::Occupied(mut known) => {
                    key.clone_from(known.key());
                    let history = known.get_mut();
                    if history.latest.mod_revision >= version.mod_revision {
                        return Err(version.position());
                    }
                    // What is older than the last version up to `compacted` is forgotten.
                    let replaced = if version.mod_revision > compacted {
                        history.push(version)
                    } else {
                        let replaced = history.replace(version);
                        self.debris.push_back(replaced.position());
                        replaced
                    };
                    self.residents.take(replaced.place, replaced.position());
                }
                Entry::Vacant(free) => {
                    free.insert(History::new(version));
                }
            }
        }
        self.log.extend(lines.into_iter().filter(|line| line.revision >= compacted));
        Ok(())
    }

    /// All versions are back; `buried` are keys with a tombstone older than `compacted`.
    pub(crate) fn finish_restore(
        &mut self,
        buried: Vec<Key>,
        compacted: Revision,
        revision: Revision,
    ) {
        for key in buried {
            if let Some(history) = self.keys.get_mut(&key)
                && !history.compact(compacted, |position| self.debris.push_back(position))
            {
                self.keys.remove(&key);
            }
        }
        self.swept = self.log.partition_point(|written| written.revision <= compacted);
        self.settled = revision;
    }

    fn within<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a History)> + use<'a> {
        let start = &range.start[..];
        let end = match &range.end[..] {
            [] => Bound::Included(start),
            [0] => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        // The map panics at bounds that cross; such a range is merely empty.
        let crossed = matches!(end, Bound::Excluded(end) if end <= start);
        let bounds = (Bound::Included(start), end);
        (!crossed).then(|| self.keys.range::<[u8], _>(bounds)).into_iter().flatten()
    }
}

/// The stored records, and what is not stored yet.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    pub(crate) keys: &'a Keyspace,
    pub(crate) stored: &'a dyn Versions,
}

impl Versions for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.stored.get(key)
    }

    fn read(&self, at: Position) -> Result<KeyValue, Unreadable> {
        match self.keys.unsettled.get(&at) {
            Some(kv) => Ok(kv.clone()),
            None => self.stored.read(at),
        }
    }
}
