//! Every acknowledged write is in the store's history, at the revision that was told, once; and no write is
//! there that nobody asked for, or whose client was told that nothing was done.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Action, History, Outcome};

pub(crate) fn check(history: &History) -> Verdict {
    if history.changes.is_empty() {
        // Nobody has said what the store holds.
        return Ok(());
    }
    let mut stored = BTreeMap::new();
    let mut values = BTreeSet::new();
    for change in history.changes.values() {
        for write in &change.writes {
            let Some(value) = write.register() else { continue };
            if !values.insert(value) {
                return Err(format!("{value} was written twice"));
            }
            stored.insert(change.revision, value);
        }
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
    use super::*;
    use crate::check::tests::change;
    use crate::history::Operation;

    fn run(stored: &[(i64, u64)], asked: &[(u64, Outcome)]) -> Verdict {
        let stored = stored
            .iter()
            .map(|&(revision, value)| (revision, change(revision, &[("k", &value.to_string())])));
        let operation = |&(value, outcome)| Operation {
            client: 1,
            key: "k".into(),
            action: Action::Put { value },
            called_us: 0,
            returned_us: Some(1),
            outcome,
        };
        check(&History {
            changes: stored.collect(),
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
