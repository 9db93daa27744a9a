//! Pieces of history: what happened to the keys of a range from some revision on.
//!
//! As with reads, [`draft`] finds what is in memory, and [`Draft::fetch`] brings the rest from its records.
//!
//! # Invariants
//! - The events of one revision are never split.
//! - An event of the oldest revision that is kept has no `prev`: that one is forgotten.

use std::sync::Arc;

use bytes::Bytes;

use crate::keyspace::{Keyspace, Written};
use crate::types::{Change, Event, EventKind, KeyRange, KeyValue, Revision};
use crate::versions::{self, Position, Unreadable, Versions};

/// Lines of history that one page reads at most: bounds how long a reader holds the state.
const READS_MAX: usize = 4096;

/// A piece of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub changes: Vec<Change>,
    /// The last revision that the page covers: the next page begins after it.
    pub through: Revision,
    /// Whether there was nothing after it when it was read.
    pub is_last: bool,
}

/// A piece of history, as far as it is in memory.
#[derive(Debug)]
pub struct Draft {
    changes: Vec<(Revision, Vec<Sketch>)>,
    through: Revision,
    is_last: bool,
}

/// An event, and where the rest of it is.
#[derive(Debug)]
struct Sketch {
    event: Event,
    kv: Option<Position>,
    prev: Option<Position>,
}

/// What happened in `range` from revision `from` on, at most `changes_max` changes of it, as of `latest`.
pub(crate) fn draft(
    keys: &Keyspace,
    (compacted, latest): (Revision, Revision),
    range: &KeyRange,
    from: Revision,
    changes_max: usize,
) -> Draft {
    let mut draft = Draft { changes: Vec::new(), through: latest, is_last: true };
    let mut last = None;
    for (reads, written) in keys.log_from(from).enumerate() {
        if last != Some(written.revision) {
            if draft.changes.len() >= changes_max || reads >= READS_MAX {
                (draft.through, draft.is_last) = (written.revision - 1, false);
                return draft;
            }
            last = Some(written.revision);
        }
        if range.contains(&written.key) {
            let sketch = sketch(keys, written, compacted);
            match draft.changes.last_mut() {
                Some((revision, sketches)) if *revision == written.revision => {
                    sketches.push(sketch);
                }
                _ => draft.changes.push((written.revision, vec![sketch])),
            }
        }
    }
    draft
}

fn sketch(keys: &Keyspace, written: &Written, compacted: Revision) -> Sketch {
    let (seen, prev) = keys.written(written);
    let kind = if seen.is_tombstone() { EventKind::Delete } else { EventKind::Put };
    let (kv, absent) = keys.to_key_value(seen, Bytes::copy_from_slice(&written.key));
    // What came before the oldest revision is forgotten, although it may still be there.
    let prev = prev.filter(|_| written.revision > compacted).map(|prev| prev.position());
    Sketch { event: Event { kind, kv, prev: None }, kv: absent, prev }
}

impl Draft {
    /// Brings what is not in memory, until there are `bytes_max` of keys and values, but at least one change.
    pub fn fetch(self, versions: &dyn Versions, bytes_max: usize) -> Result<Page, Unreadable> {
        let Self { changes, through, is_last } = self;
        let mut page = Page { changes: Vec::with_capacity(changes.len()), through, is_last };
        let mut bytes = 0;
        for (revision, sketches) in changes {
            if bytes >= bytes_max && !page.changes.is_empty() {
                (page.through, page.is_last) = (revision - 1, false);
                break;
            }
            let mut events = Vec::with_capacity(sketches.len());
            for sketch in sketches {
                let event = sketch.fetch(versions)?;
                bytes += bytes_of(&event.kv) + event.prev.as_ref().map_or(0, bytes_of);
                events.push(event);
            }
            let events: Arc<[Event]> = events.into();
            page.changes.push(Change { revision, events });
        }
        Ok(page)
    }
}

impl Sketch {
    fn fetch(self, versions: &dyn Versions) -> Result<Event, Unreadable> {
        let mut event = self.event;
        if let Some(at) = self.prev {
            event.prev = Some(versions::read_of(versions, &event.kv.key, at)?);
        }
        if let Some(at) = self.kv {
            event.kv = versions::read_of(versions, &event.kv.key, at)?;
        }
        Ok(event)
    }
}

fn bytes_of(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len()
}
