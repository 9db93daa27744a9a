//! A member's revision and what it has compacted never go back while its process lives.

use std::collections::BTreeMap;

use store_handle::MemberId;

use super::{Invariant, Look};
use crate::check::Verdict;

/// The last of each member's lives: revision, and what was compacted.
#[derive(Debug, Default)]
pub(super) struct RevisionOrder(BTreeMap<(MemberId, u32), (i64, i64)>);

impl Invariant for RevisionOrder {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for seen in &look.members {
            self.see((seen.member, seen.life), (seen.progress.revision, seen.compacted))?;
        }
        Ok(())
    }
}

impl RevisionOrder {
    fn see(&mut self, life: (MemberId, u32), now: (i64, i64)) -> Verdict {
        let last = self.0.insert(life, now).unwrap_or_default();
        if now.0 < last.0 || now.1 < last.1 {
            return Err(format!("member {} went back from {last:?} to {now:?}", life.0));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_found_unless_it_is_another_life() {
        let mut seen = RevisionOrder::default();
        assert!(seen.see((1, 1), (5, 2)).is_ok() && seen.see((1, 1), (6, 2)).is_ok());
        assert!(seen.see((1, 2), (4, 2)).is_ok(), "a restart");
        assert!(seen.see((1, 1), (5, 2)).is_err());
    }
}
