//! Leader completeness: a leader's log holds everything that was committed in the terms before its own.

use std::collections::{BTreeMap, BTreeSet};

use store_handle::{Handle, MemberId};

use super::{Invariant, Look};
use crate::check::Verdict;

/// What is known to be committed, since some member has applied it.
#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    /// The highest index that was applied of each term.
    applied: BTreeMap<u64, u64>,
    /// Leaders that have been looked at.
    known: BTreeSet<(u64, MemberId)>,
}

impl Invariant for LeaderCompleteness {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for seen in &look.members {
            let highest = self.applied.entry(seen.progress.term).or_default();
            *highest = seen.progress.index.max(*highest);
        }
        for seen in look.members.iter().filter(|seen| seen.is_leader) {
            let (term, member) = (seen.term, seen.member);
            if self.known.insert((term, member)) {
                let last = seen.store.status().last_log_index;
                self.see(term, last).map_err(|reason| format!("leader {member}: {reason}"))?;
            }
        }
        Ok(())
    }
}

impl LeaderCompleteness {
    fn see(&self, term: u64, last: u64) -> Verdict {
        let committed = self.applied.range(..term).map(|(_, index)| *index).max().unwrap_or(0);
        if last < committed {
            return Err(format!("its log ends at {last} in term {term}, before {committed}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_without_a_committed_entry_is_found() {
        let seen = LeaderCompleteness {
            applied: [(1, 10), (2, 14), (4, 30)].into(),
            ..LeaderCompleteness::default()
        };
        assert_eq!(seen.see(3, 14), Ok(()));
        assert!(seen.see(3, 13).is_err());
    }
}
