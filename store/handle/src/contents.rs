//! What a member holds: the state in memory and the records it has stored, read as one.
//!
//! # Path
//! `Handle::range` → here → `store_mvcc::State::range` under the lock → the rest from the records, without it
//!
//! # Invariants
//! - No record is waited for while the state is held, but by a read that was overtaken.
//! - A read sees one state, whole: records never change, and one that went away meanwhile is noticed.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use store_mvcc::record::RawRecord;
use store_mvcc::state::Checksum;
use store_mvcc::types::{Change, Error, KeyRange, RangeReply, RangeRequest, Revision};
use store_mvcc::{Page, State, Unreadable, Versions};

use crate::handle::{Hash, ReadError};
use crate::hub::History;

/// Keys and values that one page of history brings, about.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Versions that are looked up in one hold of the state, while all of them are read.
const ITEMS_MAX: usize = 1024;

/// The state and its stored records.
#[derive(Debug)]
pub struct Contents {
    state: RwLock<State>,
    stored: Arc<dyn Versions>,
}

impl Contents {
    pub fn new(state: State, stored: Arc<dyn Versions>) -> Self {
        Self { state: RwLock::new(state), stored }
    }

    /// The state, to be looked at.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The state, to be changed.
    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// The same, unless somebody looks at it just now.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, State>> {
        self.state.try_write()
    }

    /// The records.
    pub fn stored(&self) -> &dyn Versions {
        &*self.stored
    }

    /// Reads the state as it is.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        self.both(|state| state.range(request), |found| found.fetch(&*self.stored))
    }

    /// Everything that happened in `range` from revision `from` on.
    pub fn changes(&self, range: &KeyRange, from: Revision) -> Result<Vec<Change>, ReadError> {
        let draft = |state: &State| state.page(range, from, usize::MAX);
        let mut page = self.both(draft, |draft| draft.fetch(&*self.stored, usize::MAX))?;
        let mut changes = page.changes;
        while !page.is_last {
            let draft = |state: &State| state.page(range, page.through + 1, usize::MAX);
            page = self.both(draft, |draft| draft.fetch(&*self.stored, usize::MAX))?;
            changes.append(&mut page.changes);
        }
        Ok(changes)
    }

    /// A checksum of every version of every key up to `revision` (0: the latest). Members that have
    /// applied and compacted the same have the same one. Holds the state for moments only.
    pub fn hash(&self, revision: Revision) -> Result<Hash, ReadError> {
        let revision = self.read().resolve(revision)?;
        loop {
            let compacted = self.read().compacted();
            if let Some(crc32) = self.checksum(revision, compacted)? {
                return Ok(Hash { crc32, revision, compacted });
            }
            // Compacted meanwhile, perhaps beyond the revision that was asked for.
            self.read().resolve(revision)?;
        }
    }

    /// All records of the state: what a compaction has forgotten is not among them.
    pub fn export(&self) -> Result<Vec<RawRecord>, ReadError> {
        Ok(self.read().export(&*self.stored)?)
    }

    /// `None` if the state was compacted meanwhile.
    fn checksum(&self, revision: Revision, compacted: Revision) -> Result<Option<u32>, ReadError> {
        let mut checksum = Checksum::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let items = {
                let state = self.read();
                if state.compacted() != compacted {
                    return Ok(None);
                }
                state.items(after.as_deref(), revision, ITEMS_MAX)
            };
            let Some(last) = items.last() else { return Ok(Some(checksum.value())) };
            after = Some(last.key().to_vec());
            for item in items {
                match item.fetch(&*self.stored) {
                    Ok(item) => checksum.add(&item),
                    Err(_) if self.read().compacted() != compacted => return Ok(None),
                    Err(unreadable) => return Err(unreadable.into()),
                }
            }
        }
    }

    /// Looks while it holds the state, fetches without it. What is gone by then was compacted, or went
    /// with a whole state that a snapshot replaced: then both are done again, and nothing goes meanwhile.
    fn both<D, T>(
        &self,
        look: impl Fn(&State) -> Result<D, Error>,
        fetch: impl Fn(D) -> Result<T, Unreadable>,
    ) -> Result<T, ReadError> {
        let draft = look(&self.read())?;
        if let Ok(answer) = fetch(draft) {
            return Ok(answer);
        }
        let state = self.read();
        let answer = fetch(look(&state)?);
        answer.map_err(|unreadable| {
            tracing::error!(%unreadable, "a read has no answer");
            unreadable.into()
        })
    }
}

impl History for Contents {
    fn page(
        &self,
        range: &KeyRange,
        from: Revision,
        changes_max: usize,
    ) -> Result<Page, ReadError> {
        let draft = |state: &State| state.page(range, from, changes_max);
        self.both(draft, |draft| draft.fetch(&*self.stored, PAGE_BYTES_MAX))
    }

    fn revision(&self) -> Revision {
        self.read().revision()
    }

    fn compacted(&self) -> Revision {
        self.read().compacted()
    }
}
