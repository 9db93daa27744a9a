//! One command's writes: they share a revision, and each has a place (`sub`) within it.
//!
//! # Invariants
//! - A command that writes nothing takes no revision.
//! - Every write leaves an event, a record and the lease's view of the key in step.

use bytes::Bytes;

use crate::history::Version;
use crate::keyspace::{Overlay, Replacement};
use crate::range::{self, Span};
use crate::record::{self, Record};
use crate::residents::Place;
use crate::state::State;
use crate::types::{
    Change, Error, Event, EventKind, KeyRange, KeyValue, LeaseId, RangeReply, RangeRequest,
    Revision,
};
use crate::versions::{self, Position, Unreadable, Versions};

/// The state, while one command writes to it.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    state: &'a mut State,
    stored: &'a dyn Versions,
    events: Vec<Event>,
    /// Events without the version that was replaced, since it is not in memory; and where it is.
    lacks: Vec<(usize, Position)>,
    records: &'a mut Vec<Record>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) change: Change,
    pub(crate) lacks: Vec<(usize, Position)>,
}

/// Ends the member: an entry that cannot be applied must not be answered, nor the next one be applied.
///
/// # Panics
/// Unless the record could be read.
pub(crate) fn needed<T>(read: Result<T, Unreadable>) -> T {
    match read {
        Ok(read) => read,
        Err(unreadable) => panic!("an entry of the log cannot be applied: {unreadable}"),
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        state: &'a mut State,
        stored: &'a dyn Versions,
        records: &'a mut Vec<Record>,
    ) -> Self {
        Self { state, stored, events: Vec::new(), lacks: Vec::new(), records }
    }

    /// The state's revision as seen from inside: the new one from the first write on.
    pub(crate) fn revision(&self) -> Revision {
        self.state.revision + Revision::from(!self.events.is_empty())
    }

    /// The key's latest version, complete.
    pub(crate) fn latest(&self, key: &Bytes) -> Option<KeyValue> {
        let latest = self.state.keys.latest(key)?;
        Some(self.complete(key, latest, self.state.keys.value(latest).cloned()))
    }

    /// The keys of `range` that exist now.
    pub(crate) fn live_keys(&self, range: &KeyRange) -> Vec<Bytes> {
        let live = self.state.keys.live_now(range);
        live.map(|(key, _)| Bytes::copy_from_slice(key)).collect()
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let span = Span { latest: self.revision(), compacted: self.state.compacted };
        let found = range::read(&self.state.keys, span, request)?;
        Ok(needed(found.fetch(&self.overlay())))
    }

    /// Writes a value; returns what it replaced, if that is asked for.
    pub(crate) fn put(
        &mut self,
        key: &Bytes,
        value: Bytes,
        lease: LeaseId,
        wants_prev: bool,
    ) -> Option<KeyValue> {
        let (mod_revision, sub) = (self.state.revision + 1, self.sub());
        self.write(key, value, wants_prev, |before| Version {
            place: Place::Record,
            create_revision: before.map_or(mod_revision, |before| before.create_revision),
            mod_revision,
            sub,
            version: before.map_or(0, |before| before.version) + 1,
            lease,
        })
    }

    /// Deletes a key, which must exist; returns what was there, if that is asked for.
    pub(crate) fn delete(&mut self, key: &Bytes, wants_prev: bool) -> Option<KeyValue> {
        let (mod_revision, sub) = (self.state.revision + 1, self.sub());
        self.write(key, Bytes::new(), wants_prev, |before| {
            assert!(before.is_some(), "the caller names keys that exist");
            let (create_revision, version, lease) = (0, 0, 0);
            Version { place: Place::Empty, create_revision, mod_revision, sub, version, lease }
        })
    }

    /// Takes the revision, if anything was written.
    pub(crate) fn finish(self) -> Option<Written> {
        if self.events.is_empty() {
            return None;
        }
        self.state.revision += 1;
        let change = Change { revision: self.state.revision, events: self.events.into() };
        Some(Written { change, lacks: self.lacks })
    }

    fn write(
        &mut self,
        key: &Bytes,
        value: Bytes,
        wants_prev: bool,
        next: impl FnOnce(Option<&Version>) -> Version,
    ) -> Option<KeyValue> {
        let Replacement { version, replaced } = self.state.keys.write(key, value.clone(), next);
        let lease_before = replaced.as_ref().map_or(0, |(replaced, _)| replaced.lease);
        self.state.lessor.attach(key, lease_before, version.lease);
        let kv = version.to_key_value(key.clone(), value);
        self.records.push(Record::Put {
            key: record::version_key(version.mod_revision, version.sub),
            value: record::encode_version(&kv),
        });
        let kind = if version.is_tombstone() { EventKind::Delete } else { EventKind::Put };
        // A disk is not asked for the sake of watchers that there may not be.
        let prev = match replaced {
            Some((replaced, None)) if !wants_prev => {
                self.lacks.push((self.events.len(), replaced.position()));
                None
            }
            Some((replaced, value)) => Some(self.complete(key, &replaced, value)),
            None => None,
        };
        self.events.push(Event { kind, kv, prev: prev.clone() });
        prev.filter(|_| wants_prev)
    }

    fn complete(&self, key: &Bytes, version: &Version, value: Option<Bytes>) -> KeyValue {
        match value {
            Some(value) => version.to_key_value(key.clone(), value),
            None => needed(versions::read_of(&self.overlay(), key, version.position())),
        }
    }

    fn overlay(&self) -> Overlay<'_> {
        Overlay { keys: &self.state.keys, stored: self.stored }
    }

    fn sub(&self) -> u32 {
        u32::try_from(self.events.len()).expect("fewer writes than u32 counts fit in an entry")
    }
}
