//! Every version of every key in memory, and the order in which they came.
//!
//! ```text
//! put a=1   put b=1   put a=2   delete b      compact 3
//!   r2        r3        r4        r5          keeps: a@2, a@4, b@3, b†5
//!
//! keys   a: [older: a@2] latest: a@4          a key's versions, oldest first
//!        b: [older: b@3] latest: b†5
//! log    r3 b · r4 a · r5 b                   who wrote what, from `compacted` on
//! ```
//! Values are reference counted: a reader, an event and a snapshot share the bytes that are here.
//!
//! # Invariants
//! - The versions of a key ascend by revision; a revision writes a key once.
//! - `log` holds the versions of revision `compacted` and later, in order, and no others.
//! - After `compact(c)` every read at `c` or later answers as before, and so does every event later than `c`.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Change, Event, EventKind, KeyRange, KeyValue, LeaseId, Revision};

/// One version of one key; `version` 0 is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) value: Bytes,
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) sub: u32,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

impl Version {
    fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    pub(crate) fn to_key_value(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// A key's versions; nearly always there is but one, so that one lies here without an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct History {
    latest: Version,
    older: Vec<Version>,
}

impl History {
    fn push(&mut self, version: Version) {
        assert!(self.latest.mod_revision < version.mod_revision, "a revision writes a key once");
        // Most keys have one older version or none between two compactions.
        if self.older.capacity() == 0 {
            self.older.reserve_exact(1);
        }
        self.older.push(std::mem::replace(&mut self.latest, version));
    }

    /// The version that a read at `revision` sees; a tombstone is not seen.
    fn at(&self, revision: Revision) -> Option<&Version> {
        let version = if self.latest.mod_revision <= revision {
            Some(&self.latest)
        } else {
            let newer = self.older.partition_point(|version| version.mod_revision <= revision);
            newer.checked_sub(1).map(|index| &self.older[index])
        };
        version.filter(|version| !version.is_tombstone())
    }

    /// The version written at `revision`, and the live one that it replaced.
    fn written_at(&self, revision: Revision) -> (&Version, Option<&Version>) {
        let index = self.older.partition_point(|version| version.mod_revision < revision);
        let version = self.older.get(index).unwrap_or(&self.latest);
        assert!(version.mod_revision == revision, "the log names only versions that exist");
        let prev = index.checked_sub(1).map(|index| &self.older[index]);
        (version, prev.filter(|prev| !prev.is_tombstone()))
    }

    /// Drops what no read at `revision` or later sees and no event from there on needs; false if
    /// nothing is left. A tombstone of `revision` itself stays: a watch may begin there.
    fn compact(&mut self, revision: Revision, mut dropped: impl FnMut(&Version)) -> bool {
        let gone = |kept: &Version| kept.is_tombstone() && kept.mod_revision < revision;
        if self.latest.mod_revision <= revision {
            self.older.drain(..).for_each(|version| dropped(&version));
            self.older.shrink_to_fit();
            if gone(&self.latest) {
                dropped(&self.latest);
                return false;
            }
            return true;
        }
        let newer = self.older.partition_point(|version| version.mod_revision <= revision);
        let Some(kept) = newer.checked_sub(1) else { return true };
        let end = if gone(&self.older[kept]) { newer } else { kept };
        self.older.drain(..end).for_each(|version| dropped(&version));
        if self.older.is_empty() {
            self.older.shrink_to_fit();
        }
        true
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    revision: Revision,
    sub: u32,
    key: Bytes,
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keyspace {
    keys: BTreeMap<Bytes, History>,
    log: VecDeque<Written>,
}

impl Keyspace {
    /// The key's latest version, unless it is deleted.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<&Version> {
        let history = self.keys.get(key)?;
        Some(&history.latest).filter(|latest| !latest.is_tombstone())
    }

    /// The revision of the key's newest version, tombstones included; 0 if there is none.
    pub(crate) fn newest_revision(&self, key: &[u8]) -> Revision {
        self.keys.get(key).map_or(0, |history| history.latest.mod_revision)
    }

    /// The keys of `range` as of `revision`, in order.
    pub(crate) fn live<'a>(
        &'a self,
        range: &KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Version)> + use<'a> {
        self.within(range).filter_map(move |(key, history)| Some((key, history.at(revision)?)))
    }

    /// Writes a version; returns the live one that it replaces.
    pub(crate) fn write(&mut self, key: &Bytes, version: Version) -> Option<KeyValue> {
        let (revision, sub) = (version.mod_revision, version.sub);
        if let Some(last) = self.log.back() {
            assert!((last.revision, last.sub) < (revision, sub), "the log ascends");
        }
        self.log.push_back(Written { revision, sub, key: key.clone() });
        let Some(history) = self.keys.get_mut(&key[..]) else {
            self.keys.insert(key.clone(), History { latest: version, older: Vec::new() });
            return None;
        };
        let replaced = &history.latest;
        let prev = (!replaced.is_tombstone()).then(|| replaced.to_key_value(key));
        history.push(version);
        prev
    }

    /// Forgets versions as [`History::compact`] says, naming each to `dropped`. Costs as much as there
    /// was written since the last time, not as much as there is.
    pub(crate) fn compact(&mut self, revision: Revision, mut dropped: impl FnMut(&Version)) {
        let end = self.log.partition_point(|written| written.revision <= revision);
        for written in self.log.range(..end) {
            // A key written often is met often: but for the first time, there is nothing left to do.
            if let Some(history) = self.keys.get_mut(&written.key[..])
                && !history.compact(revision, &mut dropped)
            {
                self.keys.remove(&written.key[..]);
            }
        }
        let before = self.log.partition_point(|written| written.revision < revision);
        self.log.drain(..before);
        if self.log.capacity() > 4 * self.log.len() + 64 {
            self.log.shrink_to(2 * self.log.len());
        }
    }

    /// What happened to the keys of `range` from revision `from` on, reading at most `reads_max` lines
    /// of the log but always whole revisions, and returning at most `changes_max` of them; and the
    /// first revision not looked at, if there is one.
    pub(crate) fn changes(
        &self,
        range: &KeyRange,
        from: Revision,
        changes_max: usize,
        reads_max: usize,
    ) -> (Vec<Change>, Option<Revision>) {
        let start = self.log.partition_point(|written| written.revision < from);
        let mut changes = Vec::new();
        let mut events = Vec::new();
        let mut revision = None;
        for (reads, written) in self.log.range(start..).enumerate() {
            if revision != Some(written.revision) {
                push_change(&mut changes, revision, &mut events);
                if changes.len() >= changes_max || reads >= reads_max {
                    return (changes, Some(written.revision));
                }
                revision = Some(written.revision);
            }
            if range.contains(&written.key) {
                events.push(self.event(written));
            }
        }
        push_change(&mut changes, revision, &mut events);
        (changes, None)
    }

    /// How many keys have any version, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Every version, by key and age.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&Bytes, &Version)> {
        self.keys.iter().flat_map(|(key, history)| {
            let versions = history.older.iter().chain(std::iter::once(&history.latest));
            versions.map(move |version| (key, version))
        })
    }

    /// Takes back a version that was stored; call in the order in which they were written.
    pub(crate) fn restore(&mut self, key: Bytes, version: Version, compacted: Revision) {
        let (revision, sub) = (version.mod_revision, version.sub);
        let key = match self.keys.get_key_value(&key[..]) {
            Some((known, _)) => known.clone(),
            None => key,
        };
        match self.keys.get_mut(&key[..]) {
            Some(history) => history.push(version),
            None => {
                self.keys.insert(key.clone(), History { latest: version, older: Vec::new() });
            }
        }
        if revision >= compacted {
            self.log.push_back(Written { revision, sub, key });
        }
    }

    fn event(&self, written: &Written) -> Event {
        let history = self.keys.get(&written.key[..]).expect("the log names only keys that exist");
        let (version, prev) = history.written_at(written.revision);
        let kind = if version.is_tombstone() { EventKind::Delete } else { EventKind::Put };
        Event {
            kind,
            kv: version.to_key_value(&written.key),
            prev: prev.map(|prev| prev.to_key_value(&written.key)),
        }
    }

    fn within<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Bytes, &'a History)> + use<'a> {
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

fn push_change(changes: &mut Vec<Change>, revision: Option<Revision>, events: &mut Vec<Event>) {
    if let Some(revision) = revision
        && !events.is_empty()
    {
        let events: Arc<[Event]> = std::mem::take(events).into();
        changes.push(Change { revision, events });
    }
}
