//! State machine safety: no two members apply different entries at one index.

use std::collections::BTreeMap;

use super::{Invariant, Look};
use crate::check::Verdict;

/// The term and the revision after each index that was seen applied.
#[derive(Debug, Default)]
pub(super) struct StateMachineSafety(BTreeMap<u64, (u64, i64)>);

impl Invariant for StateMachineSafety {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for seen in &look.members {
            let (member, progress) = (seen.member, seen.progress);
            self.see(progress.index, (progress.term, progress.revision))
                .map_err(|reason| format!("member {member}: {reason}"))?;
        }
        Ok(())
    }
}

impl StateMachineSafety {
    fn see(&mut self, index: u64, after: (u64, i64)) -> Verdict {
        let first = *self.0.entry(index).or_insert(after);
        if first == after {
            return Ok(());
        }
        let ((term, revision), (other_term, other)) = (first, after);
        Err(format!(
            "entry {index} is of term {other_term} and leads to revision {other}; elsewhere it is of {term}, and leads to {revision}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_entry_at_an_index_is_found() {
        let mut seen = StateMachineSafety::default();
        assert!(seen.see(5, (1, 4)).is_ok() && seen.see(6, (2, 4)).is_ok());
        assert!(seen.see(5, (1, 4)).is_ok());
        assert!(seen.see(5, (2, 4)).is_err(), "another term");
        assert!(seen.see(6, (2, 5)).is_err(), "another result");
    }
}
