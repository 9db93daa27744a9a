//! A member votes for one candidate a term, and its term never goes back: by what it writes to its disk, over
//! all of its lives.

use std::collections::BTreeMap;

use store_handle::MemberId;

use super::{Invariant, Look};
use crate::check::Verdict;
use crate::disk::Written;

/// The term of each member's last vote, and its candidate.
#[derive(Debug, Default)]
pub(super) struct OneVote(BTreeMap<MemberId, (u64, MemberId)>);

impl Invariant for OneVote {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for (member, written) in &look.written {
            if let Written::Vote { term, candidate, is_elected } = *written {
                self.see(*member, term, candidate, is_elected)?;
            }
        }
        Ok(())
    }
}

impl OneVote {
    fn see(
        &mut self,
        member: MemberId,
        term: u64,
        candidate: MemberId,
        is_elected: bool,
    ) -> Verdict {
        let (last, first) = self.0.insert(member, (term, candidate)).unwrap_or_default();
        if term < last {
            return Err(format!("member {member} went back from term {last} to {term}"));
        }
        if term == last && candidate != first && !is_elected {
            return Err(format!(
                "member {member} votes for {first} and {candidate} in term {term}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_vote_is_found() {
        let mut seen = OneVote::default();
        assert!(seen.see(1, 4, 2, false).is_ok() && seen.see(1, 4, 2, false).is_ok());
        assert!(seen.see(2, 4, 3, false).is_ok(), "another member");
        assert!(seen.see(2, 4, 2, true).is_ok(), "it follows whoever was elected");
        assert!(seen.see(1, 4, 3, false).is_err());
        assert!(seen.see(1, 3, 3, false).is_err(), "an earlier term");
    }
}
