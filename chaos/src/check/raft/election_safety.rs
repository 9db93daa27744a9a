//! Election safety: in one term, at most one member leads.

use std::collections::BTreeMap;

use store_handle::MemberId;

use super::{Invariant, Look};
use crate::check::Verdict;

/// Who has led each term.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety(BTreeMap<u64, MemberId>);

impl Invariant for ElectionSafety {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for seen in look.members.iter().filter(|seen| seen.is_leader) {
            self.see(seen.term, seen.member)?;
        }
        Ok(())
    }
}

impl ElectionSafety {
    fn see(&mut self, term: u64, member: MemberId) -> Verdict {
        let first = *self.0.entry(term).or_insert(member);
        if first == member { Ok(()) } else { Err(format!("{first} and {member} lead term {term}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_leader_of_a_term_is_found() {
        let mut seen = ElectionSafety::default();
        assert!(seen.see(1, 1).is_ok() && seen.see(2, 2).is_ok() && seen.see(1, 1).is_ok());
        assert!(seen.see(1, 2).is_err());
    }
}
