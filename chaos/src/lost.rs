//! What is lost with a majority that was the only one to have it: told by members that are gone, and true of nobody.
//!
//! The survivor's own log is what counts from then on: what of it nobody had applied is history, too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use store_env::clock::SharedClock;
use store_handle::contents::Contents;
use store_handle::{KeyRange, Revision};
use store_mvcc::{Restore, Versions, record};
use store_raft::disk::StateDisk;
use store_raft::memory::MemoryState;
use store_raft::rebuild::{self, Disks, Plan};

use crate::history::{History, Outcome, Revised, Sight, Write};
use crate::scribe::writes;
use crate::world::Machine;

/// Everything that a member's disks hold, from the oldest revision that was not compacted: its whole log is
/// applied, on a copy.
pub(crate) fn told_by(
    machine: &Machine,
    plan: &Plan,
    clock: SharedClock,
    now_us: u64,
) -> io::Result<BTreeMap<Revision, Revised>> {
    let (log, state) = (machine.log.copied(), machine.state.copied());
    let disks = Disks { log: Arc::new(log), state: Arc::new(state.clone()), clock };
    rebuild::rebuild(&disks, &Plan { leap: None, ..plan.clone() })?;
    let mut restore = Restore::new(None);
    state.load(&mut |key, value| {
        if record::is_state(key) {
            restore.add(key, value).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    let contents =
        Contents::new(restore.finish().map_err(io::Error::other)?, Arc::new(Held(state)));
    let oldest = contents.read().compacted().max(1);
    let changes = contents.changes(&KeyRange::prefix(""), oldest).map_err(io::Error::other)?;
    let told = changes.iter().map(|change| {
        let revision = change.revision;
        (revision, Revised { revision, seen_us: now_us, writes: writes(change) })
    });
    Ok(told.collect())
}

#[derive(Debug)]
struct Held(MemoryState);

impl Versions for Held {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(|error| error.to_string())
    }
}

/// Puts a survivor's history in the place of what was told; returns how many revisions are lost.
pub(crate) fn forget(history: &mut History, told: &BTreeMap<Revision, Revised>) -> usize {
    let from = told.first_key_value().map_or(Revision::MAX, |(first, _)| *first);
    let differs = |(revision, change): &(&Revision, &Revised)| {
        told.get(revision).is_none_or(|other| other.writes != change.writes)
    };
    let cut = history.changes.range(from..).find(differs).map(|(revision, _)| *revision);
    let lost = cut.map(|cut| history.changes.split_off(&cut)).unwrap_or_default();
    history.changes.extend(
        told.iter()
            .map(|(revision, change)| {
                let known = history.changes.get(revision);
                (*revision, known.unwrap_or(change).clone())
            })
            .collect::<Vec<_>>(),
    );
    let Some((cut, first)) = lost.first_key_value() else { return 0 };
    let values: BTreeSet<u64> =
        lost.values().flat_map(|change| &change.writes).filter_map(Write::register).collect();
    disbelieve(history, *cut, first.seen_us, &values);
    lost.len()
}

/// Takes back what clients heard of revisions from `cut` on, the first of which was there at `since_us`.
fn disbelieve(history: &mut History, cut: Revision, since_us: u64, values: &BTreeSet<u64>) {
    history.operations.retain_mut(|operation| {
        match operation.outcome {
            Outcome::Wrote { revision } if revision >= cut => operation.outcome = Outcome::Nothing,
            Outcome::Read { found: Some(found) } => return !values.contains(&found),
            // By what it differed from may be lost.
            Outcome::Differed => return operation.returned_us.is_some_and(|at| at < since_us),
            _ => {}
        }
        true
    });
    for transfer in &mut history.transfers {
        if matches!(transfer.outcome, Outcome::Wrote { revision } if revision >= cut) {
            transfer.outcome = Outcome::Nothing;
        }
    }
    for write in &mut history.fenced {
        write.revision = write.revision.filter(|revision| *revision < cut);
    }
    history.snapshots.retain(|snapshot| snapshot.revision < cut);
    history.watched.retain_mut(|watched| match &mut watched.sight {
        Sight::Begins { after } => {
            *after = (*after).min(cut - 1);
            true
        }
        Sight::Events { revision, .. } | Sight::Progress { revision } => *revision < cut,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::check::tests::change;
    use crate::history::Action;

    fn put(history: &mut History, value: u64, outcome: Outcome) {
        let at = history.call(1, "k".into(), Action::Put { value }, value);
        history.answer(at, outcome, value);
    }

    #[test]
    fn what_only_the_dead_had_is_forgotten_and_what_the_survivor_had_is_kept() {
        let mut history = History::default();
        for (revision, value) in [(2, "7"), (3, "8")] {
            history.changes.insert(revision, change(revision, &[("k", value)]));
        }
        put(&mut history, 7, Outcome::Wrote { revision: 2 });
        put(&mut history, 8, Outcome::Wrote { revision: 3 });
        put(&mut history, 9, Outcome::Unknown);
        let read = history.call(1, "k".into(), Action::Get, 10);
        history.answer(read, Outcome::Read { found: Some(8) }, 10);
        let told = [(2, "7"), (3, "9")].map(|(at, value)| (at, change(at, &[("k", value)])));
        assert_eq!(forget(&mut history, &told.into()), 1);
        let outcomes: Vec<_> = history.operations.iter().map(|it| it.outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::Wrote { revision: 2 }, Outcome::Nothing, Outcome::Unknown],
            "and nobody has read what is lost"
        );
        assert!(check::violations(&history).is_empty());
        let kept = history.changes[&2].clone();
        assert_eq!(forget(&mut history, &[(2, kept)].into()), 1, "it has less");
        assert_eq!(history.changes.len(), 1);
    }
}
