//! One command's writes: they share a revision, and each has a place (`sub`) within it.
//!
//! # Invariants
//! - A command that writes nothing takes no revision.
//! - Every write leaves an event, a record and the lease's view of the key in step.

use bytes::Bytes;

use crate::keyspace::Version;
use crate::range::{self, Span};
use crate::record::{self, Record};
use crate::state::State;
use crate::types::{
    Change, Error, Event, EventKind, KeyRange, KeyValue, LeaseId, RangeReply, RangeRequest,
    Revision,
};

/// The state, while one command writes to it.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    state: &'a mut State,
    events: Vec<Event>,
    records: &'a mut Vec<Record>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(state: &'a mut State, records: &'a mut Vec<Record>) -> Self {
        Self { state, events: Vec::new(), records }
    }

    /// The state's revision as seen from inside: the new one from the first write on.
    pub(crate) fn revision(&self) -> Revision {
        self.state.revision + Revision::from(!self.events.is_empty())
    }

    pub(crate) fn latest(&self, key: &[u8]) -> Option<&Version> {
        self.state.keys.latest(key)
    }

    /// The keys of `range` that exist now.
    pub(crate) fn live_keys(&self, range: &KeyRange) -> Vec<Bytes> {
        let live = self.state.keys.live(range, Revision::MAX);
        live.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let span = Span { latest: self.revision(), compacted: self.state.compacted };
        range::read(&self.state.keys, span, request)
    }

    /// Writes a value; returns what it replaced.
    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes, lease: LeaseId) -> Option<KeyValue> {
        let now = self.state.revision + 1;
        let (create_revision, version, lease_before) = match self.state.keys.latest(key) {
            Some(latest) => (latest.create_revision, latest.version + 1, latest.lease),
            None => (now, 1, 0),
        };
        self.state.lessor.attach(key, lease_before, lease);
        let sub = self.sub();
        self.write(key, Version { value, create_revision, mod_revision: now, sub, version, lease })
    }

    /// Deletes a key; returns what was there.
    pub(crate) fn delete(&mut self, key: &Bytes) -> Option<KeyValue> {
        let lease = self.state.keys.latest(key)?.lease;
        self.state.lessor.attach(key, lease, 0);
        let tombstone = Version {
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: self.state.revision + 1,
            sub: self.sub(),
            version: 0,
            lease: 0,
        };
        self.write(key, tombstone)
    }

    /// Takes the revision, if anything was written.
    pub(crate) fn finish(self) -> Option<Change> {
        if self.events.is_empty() {
            return None;
        }
        self.state.revision += 1;
        Some(Change { revision: self.state.revision, events: self.events.into() })
    }

    fn write(&mut self, key: &Bytes, version: Version) -> Option<KeyValue> {
        let kv = version.to_key_value(key);
        self.records.push(Record::Put {
            key: record::version_key(version.mod_revision, version.sub),
            value: record::encode_version(&kv),
        });
        let kind = if version.version == 0 { EventKind::Delete } else { EventKind::Put };
        let prev = self.state.keys.write(key, version);
        self.events.push(Event { kind, kv, prev: prev.clone() });
        prev
    }

    fn sub(&self) -> u32 {
        u32::try_from(self.events.len()).expect("fewer writes than u32 counts fit in an entry")
    }
}
