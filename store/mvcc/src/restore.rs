//! The state from its stored records, batch by batch: no more of it is held twice.
//!
//! # Invariants
//! - Records that contradict each other, or are not in the order of their keys, are refused.

use std::mem;

use crate::history::Version;
use crate::keyspace::{Batch, Key};
use crate::record::{self, Corrupt, Parsed, RawKeyValue};
use crate::residents::Place;
use crate::state::State;
use crate::types::{KeyRange, Revision};
use crate::versions::Position;

/// Versions that are taken in together: enough to be close to each other among a million keys, and a tenth of
/// what these take in memory.
const BATCH_VERSIONS: usize = 1 << 16;

/// A state in the making.
#[derive(Debug)]
pub struct Restore {
    state: State,
    has_meta: bool,
    /// The position of the last version that was added.
    last: (Revision, u32),
    batch: Batch,
    /// Keys with a tombstone that a compaction has forgotten.
    buried: Vec<Key>,
}

impl Restore {
    /// Begins; see [`State::new`].
    pub fn new(resident_bytes_max: Option<usize>) -> Self {
        let state = State::new(resident_bytes_max);
        let (batch, buried) = (Batch::default(), Vec::new());
        Self { state, has_meta: false, last: (0, 0), batch, buried }
    }

    /// Adds a record; they come in the order of their keys.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        match record::parse(key, value)? {
            Parsed::Meta(meta) => {
                self.has_meta = true;
                self.state.set_meta(&meta);
            }
            Parsed::Lease(id, _) if self.state.lessor.exists(id) => {
                return Err(Corrupt::new(key, "a second record of this lease"));
            }
            Parsed::Lease(id, lease) => self.state.lessor.restore(id, &lease),
            Parsed::Version(sub, kv) => {
                self.version(sub, &kv).map_err(|reason| Corrupt::new(key, reason))?;
                if self.batch.len() >= BATCH_VERSIONS {
                    self.settle()?;
                }
            }
        }
        Ok(())
    }

    /// The state whose records these were. No records at all are the empty state.
    pub fn finish(mut self) -> Result<State, Corrupt> {
        self.settle()?;
        let Self { mut state, has_meta, buried, .. } = self;
        if !has_meta {
            return if state.lessor.next_due_ms().is_none() {
                Ok(state)
            } else {
                Err(Corrupt::new(&record::meta_key(), "missing"))
            };
        }
        state.keys.finish_restore(buried, state.compacted, state.revision);
        for (key, version) in state.keys.live_now(&KeyRange::prefix("")) {
            state.lessor.attach(key, 0, version.lease);
        }
        Ok(state)
    }

    fn version(&mut self, sub: u32, kv: &RawKeyValue<'_>) -> Result<(), &'static str> {
        let at = (kv.mod_revision, sub);
        if !self.has_meta {
            return Err("the record of revisions is missing before it");
        }
        if at <= self.last {
            return Err("not in order");
        }
        self.last = at;
        if kv.mod_revision > self.state.revision {
            return Err("later than the store's revision");
        }
        if kv.lease != 0 && kv.version == 0 {
            return Err("a tombstone with a lease");
        }
        let version = Version {
            place: Place::Record,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            sub,
        };
        self.state.keys.collect(&mut self.batch, kv.key, version, kv.value);
        if kv.version == 0 && kv.mod_revision < self.state.compacted {
            self.buried.push(kv.key.into());
        }
        Ok(())
    }

    /// Takes in what was collected.
    fn settle(&mut self) -> Result<(), Corrupt> {
        let restored = self.state.keys.restore(mem::take(&mut self.batch), self.state.compacted);
        restored.map_err(|Position { revision, sub }| {
            let key = record::version_key(revision, sub);
            Corrupt::new(&key, "a second version of its key in one revision")
        })
    }
}

impl State {
    /// The state whose records these are, in the order of their keys, with all latest values in memory.
    pub fn restore(records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, Corrupt> {
        let mut restore = Restore::new(None);
        for (key, value) in records {
            restore.add(&key, &value)?;
        }
        restore.finish()
    }
}
