//! Whoever writes down what happens to the store, while it happens: compactions forget it, and each member must
//! tell the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use store_handle::{Change, EventKind, KeyRange, MemberId, Revision};

use crate::check::Verdict;
use crate::check::raft::{Look, Seen};
use crate::history::{History, Revised, Write};

/// How often whole states are compared, in microseconds.
const COMPARE_EVERY_US: u64 = 1_000_000;

/// What has been written down of each member.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    /// The life of each member, and the revision up to which it was read.
    read: BTreeMap<MemberId, (u32, Revision)>,
    /// Fingerprints of all records, by the index of the last entry applied.
    states: BTreeMap<u64, u64>,
    compared_us: u64,
}

impl Scribe {
    /// The group was rebuilt: places in its log are others from now on.
    pub(crate) fn begin_anew(&mut self) {
        self.states.clear();
    }

    pub(crate) fn look(&mut self, look: &Look<'_>, history: &mut History, now_us: u64) -> Verdict {
        for seen in &look.members {
            self.read(seen, history, now_us)?;
        }
        if now_us >= self.compared_us + COMPARE_EVERY_US {
            let index = |seen: &Seen<'_>| seen.progress.index;
            let has_peer = |one: &&Seen<'_>| {
                look.members.iter().filter(|other| index(other) == index(one)).count() > 1
            };
            for seen in look.members.iter().filter(has_peer) {
                self.compared_us = now_us;
                self.compare(seen)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, seen: &Seen<'_>, history: &mut History, now_us: u64) -> Verdict {
        let (life, upto) = self.read.entry(seen.member).or_insert((seen.life, 1));
        let revision = seen.progress.revision;
        if *life != seen.life {
            // What it had not flushed it applies again.
            (*life, *upto) = (seen.life, revision.min(*upto));
        }
        if revision <= *upto {
            return Ok(());
        }
        let from = (*upto + 1).max(seen.compacted);
        let all = KeyRange::prefix("");
        let changes = seen.store.contents().changes(&all, from);
        let changes = changes.map_err(|error| format!("history cannot be read: {error}"))?;
        *upto = revision;
        for change in changes {
            let writes = writes(&change);
            let revision = change.revision;
            let first = || Revised { revision, seen_us: now_us, writes: writes.clone() };
            let known = history.changes.entry(revision).or_insert_with(first);
            // Of a revision that was compacted a part may be left.
            let is_part = revision <= seen.compacted
                && writes.iter().all(|write| known.writes.contains(write));
            if known.writes != writes && !is_part {
                let member = seen.member;
                return Err(format!("revision {revision} differs on member {member}"));
            }
        }
        Ok(())
    }

    fn compare(&mut self, seen: &Seen<'_>) -> Verdict {
        let mut hasher = DefaultHasher::new();
        let records = seen.store.contents().export();
        records.map_err(|error| format!("its state cannot be read: {error}"))?.hash(&mut hasher);
        let hash = hasher.finish();
        let first = *self.states.entry(seen.progress.index).or_insert(hash);
        if first != hash {
            let (member, index) = (seen.member, seen.progress.index);
            return Err(format!("after entry {index} member {member} holds something else"));
        }
        Ok(())
    }
}

/// What a change wrote.
pub(crate) fn writes(change: &Change) -> Vec<Write> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let write = |event: &store_handle::Event| Write {
        key: text(&event.kv.key),
        value: (event.kind == EventKind::Put).then(|| text(&event.kv.value)),
    };
    change.events.iter().map(write).collect()
}
