//! A write that began after another was acknowledged has the higher revision, whatever their keys.

use super::Verdict;
use crate::history::{History, Outcome};

pub(crate) fn check(history: &History) -> Verdict {
    let acked = history.operations.iter().filter_map(|operation| {
        let Outcome::Wrote { revision } = operation.outcome else { return None };
        Some((operation.called_us, operation.returned_us?, revision))
    });
    let mut by_call: Vec<_> = acked.collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Action, Operation};

    #[test]
    fn revision_that_goes_back_is_found() {
        let run = |list: &[(u64, u64, i64)]| {
            let operation = |&(called_us, returned_us, revision)| Operation {
                client: 1,
                key: 0,
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
