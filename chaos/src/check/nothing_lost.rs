//! Every acknowledged write is in the store's history, at the revision that was told, once; and no write is
//! there that nobody asked for, or whose client was told that nothing was done.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Action, History, Outcome};
use crate::workload::number;

pub(crate) fn check(history: &History) -> Verdict {
    let mut stored = BTreeMap::new();
    let mut values = BTreeSet::new();
    for event in history.changes.iter().flat_map(|change| change.events.iter()) {
        let Some(value) = number(&event.kv.value) else { continue };
        if !values.insert(value) {
            return Err(format!("{value} was written twice"));
        }
        stored.insert(event.kv.mod_revision, value);
    }
    let mut allowed = BTreeSet::new();
    for operation in &history.operations {
        let (Action::Put { value } | Action::Cas { value, .. }) = operation.action else {
            continue;
        };
        match operation.outcome {
            Outcome::Wrote { revision } if stored.get(&revision) != Some(&value) => {
                let found = stored.get(&revision);
                return Err(format!("{value} was acknowledged at {revision}, where {found:?} is"));
            }
            Outcome::Wrote { .. } | Outcome::Unknown => drop(allowed.insert(value)),
            _ => {}
        }
    }
    for write in &history.fenced {
        if let Some(revision) = write.revision
            && stored.get(&revision) != Some(&write.value)
        {
            return Err(format!("fenced {} was acknowledged at {revision}, and lost", write.value));
        }
        allowed.insert(write.value);
    }
    match values.difference(&allowed).next() {
        Some(value) => Err(format!("{value} was written although its client was told otherwise")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use store_handle::{Change, Event, EventKind, KeyValue};

    use super::*;
    use crate::history::Operation;

    fn run(stored: &[(i64, u64)], asked: &[(u64, Outcome)]) -> Verdict {
        let change = |&(revision, value): &(i64, u64)| {
            let value = value.to_string().into();
            let kv = KeyValue { value, mod_revision: revision, ..KeyValue::default() };
            let event = Event { kind: EventKind::Put, kv, prev: None };
            Change { revision, events: [event].into() }
        };
        let operation = |&(value, outcome)| Operation {
            client: 1,
            key: 0,
            action: Action::Put { value },
            called_us: 0,
            returned_us: Some(1),
            outcome,
        };
        check(&History {
            changes: stored.iter().map(change).collect(),
            operations: asked.iter().map(operation).collect(),
            ..History::default()
        })
    }

    #[test]
    fn lost_doubled_and_unwanted_writes_are_found() {
        let wrote = |revision| Outcome::Wrote { revision };
        assert_eq!(run(&[(2, 7), (3, 8)], &[(7, wrote(2)), (8, Outcome::Unknown)]), Ok(()));
        assert!(run(&[(2, 7)], &[(7, wrote(2)), (8, wrote(3))]).is_err(), "lost");
        assert!(run(&[(2, 8), (3, 7)], &[(7, wrote(2)), (8, wrote(3))]).is_err(), "exchanged");
        assert!(run(&[(2, 7), (3, 7)], &[(7, Outcome::Unknown)]).is_err(), "done twice");
        assert!(run(&[(2, 7)], &[(7, Outcome::Nothing)]).is_err(), "done after all");
        assert!(run(&[(2, 7)], &[(7, Outcome::Differed)]).is_err(), "done after all");
    }
}
