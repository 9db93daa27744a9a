//! A write that began after another was acknowledged has the higher revision, whatever their keys.

use store_handle::Revision;

use super::Verdict;
use crate::history::{History, Outcome};

pub(crate) fn check(history: &History) -> Verdict {
    let mut by_call = acknowledged(history);
    let mut by_return = by_call.clone();
    by_call.sort_unstable();
    by_return.sort_unstable_by_key(|(_, returned_us, _)| *returned_us);
    let mut returned = by_return.into_iter().peekable();
    let mut highest = 0;
    for (called_us, _, revision) in by_call {
        while let Some((_, _, earlier)) = returned.next_if(|(_, at, _)| *at < called_us) {
            highest = highest.max(earlier);
        }
        if revision <= highest {
            return Err(format!("revision {revision} began after {highest} was acknowledged"));
        }
    }
    Ok(())
}

/// When each acknowledged write was called and answered, and its revision.
pub(super) fn acknowledged(history: &History) -> Vec<(u64, u64, Revision)> {
    let operations = history.operations.iter().map(|it| (it.called_us, it.returned_us, it.outcome));
    let transfers = history.transfers.iter().map(|it| (it.called_us, it.returned_us, it.outcome));
    let acknowledged =
        operations.chain(transfers).filter_map(|(called_us, returned_us, outcome)| {
            let Outcome::Wrote { revision } = outcome else { return None };
            Some((called_us, returned_us?, revision))
        });
    acknowledged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Operation};

    #[test]
    fn revision_that_goes_back_is_found() {
        let run = |list: &[(u64, u64, i64)]| {
            let operation = |&(called_us, returned_us, revision)| Operation {
                client: 1,
                key: "k".into(),
                action: Action::Put { value: 1 },
                called_us,
                returned_us: Some(returned_us),
                outcome: Outcome::Wrote { revision },
            };
            let operations = list.iter().map(operation).collect();
            check(&History { operations, ..History::default() }).is_ok()
        };
        assert!(run(&[(0, 5, 3), (1, 6, 2), (7, 8, 4)]), "overlapping writes have any order");
        assert!(!run(&[(0, 5, 3), (6, 7, 2)]), "these do not overlap");
    }
}
