//! One key's versions: the latest in full, those before it by where they stand.

use bytes::Bytes;

use crate::residents::Place;
use crate::types::{KeyValue, LeaseId, Revision};
use crate::versions::Position;

/// The latest version of a key; `version` 0 is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Where its value is.
    pub(crate) place: Place,
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) sub: u32,
}

impl Version {
    pub(crate) fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    pub(crate) fn position(&self) -> Position {
        Position { revision: self.mod_revision, sub: self.sub }
    }

    pub(crate) fn to_key_value(&self, key: Bytes, value: Bytes) -> KeyValue {
        KeyValue {
            key,
            value,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// A version that is no longer the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Older {
    pub(crate) revision: Revision,
    pub(crate) sub: u32,
    pub(crate) is_tombstone: bool,
}

impl Older {
    pub(crate) fn position(self) -> Position {
        Position { revision: self.revision, sub: self.sub }
    }
}

impl From<&Version> for Older {
    fn from(version: &Version) -> Self {
        let Position { revision, sub } = version.position();
        Self { revision, sub, is_tombstone: version.is_tombstone() }
    }
}

/// One version, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Latest(&'a Version),
    Older(Older),
}

impl Seen<'_> {
    pub(crate) fn position(self) -> Position {
        match self {
            Self::Latest(version) => version.position(),
            Self::Older(older) => older.position(),
        }
    }

    pub(crate) fn is_tombstone(self) -> bool {
        match self {
            Self::Latest(version) => version.is_tombstone(),
            Self::Older(older) => older.is_tombstone,
        }
    }
}

/// Most keys have no older version: then there is no allocation, and one word instead of three in every key.
type Rest = Option<Box<Vec<Older>>>;

/// A key's versions.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) latest: Version,
    older: Rest,
}

impl History {
    pub(crate) fn new(latest: Version) -> Self {
        Self { latest, older: None }
    }

    /// Takes a version; returns the one that was the latest.
    pub(crate) fn push(&mut self, version: Version) -> Version {
        let before = self.replace(version);
        let older = self.older.get_or_insert_default();
        // Most keys have one older version or none between two compactions.
        if older.capacity() == 0 {
            older.reserve_exact(1);
        }
        older.push(Older::from(&before));
        before
    }

    /// As [`History::push`], but the one that was the latest is not kept.
    pub(crate) fn replace(&mut self, version: Version) -> Version {
        assert!(self.latest.mod_revision < version.mod_revision, "a revision writes a key once");
        std::mem::replace(&mut self.latest, version)
    }

    fn older(&self) -> &[Older] {
        self.older.as_ref().map_or(&[], |older| &older[..])
    }

    /// The version that a read at `revision` sees; a tombstone is not seen.
    pub(crate) fn at(&self, revision: Revision) -> Option<Seen<'_>> {
        let seen = if self.latest.mod_revision <= revision {
            Seen::Latest(&self.latest)
        } else {
            let newer = self.older().partition_point(|older| older.revision <= revision);
            Seen::Older(self.older()[newer.checked_sub(1)?])
        };
        (!seen.is_tombstone()).then_some(seen)
    }

    /// The version written at `revision`, and the live one that it replaced.
    pub(crate) fn written_at(&self, revision: Revision) -> (Seen<'_>, Option<Older>) {
        let older = self.older();
        let index = older.partition_point(|older| older.revision < revision);
        let seen = older.get(index).map_or(Seen::Latest(&self.latest), |older| Seen::Older(*older));
        assert!(seen.position().revision == revision, "the log names only versions that exist");
        let prev = index.checked_sub(1).map(|index| older[index]);
        (seen, prev.filter(|prev| !prev.is_tombstone))
    }

    /// What a compaction at `revision` keeps: all that a read at `revision` or later sees and an event
    /// from there on needs. A tombstone of `revision` itself stays: a watch may begin there.
    pub(crate) fn kept(&self, revision: Revision) -> impl Iterator<Item = Seen<'_>> {
        let older = self.older().iter().map(|older| Seen::Older(*older));
        older.chain([Seen::Latest(&self.latest)]).skip(self.first_kept(revision))
    }

    /// Drops what a compaction at `revision` does not keep; false if nothing is left.
    pub(crate) fn compact(
        &mut self,
        revision: Revision,
        mut dropped: impl FnMut(Position),
    ) -> bool {
        let first = self.first_kept(revision);
        if let Some(older) = &mut self.older {
            let end = first.min(older.len());
            older.drain(..end).for_each(|older| dropped(older.position()));
            if older.is_empty() {
                self.older = None;
            } else if older.capacity() > 4 * older.len() {
                older.shrink_to_fit();
            }
            if first == end {
                return true;
            }
        } else if first == 0 {
            return true;
        }
        dropped(self.latest.position());
        false
    }

    fn first_kept(&self, revision: Revision) -> usize {
        let older = self.older();
        let (newer, last) = if self.latest.mod_revision <= revision {
            (older.len() + 1, Some(Seen::Latest(&self.latest)))
        } else {
            let newer = older.partition_point(|older| older.revision <= revision);
            (newer, newer.checked_sub(1).map(|last| Seen::Older(older[last])))
        };
        match last {
            None => 0,
            Some(last) if last.is_tombstone() && last.position().revision < revision => newer,
            Some(_) => newer - 1,
        }
    }
}
