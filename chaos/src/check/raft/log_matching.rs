//! Log matching: entries of one index and one term are the same, and so is everything before them.

use std::collections::BTreeMap;

use store_handle::MemberId;

use super::{Invariant, Look};
use crate::check::Verdict;
use crate::disk::Written;

/// What has been seen of all logs.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// By index and term: the entry, and the term of the one before it.
    entries: BTreeMap<(u64, u64), (u32, Option<u64>)>,
    /// The terms of each member's entries.
    logs: BTreeMap<MemberId, BTreeMap<u64, u64>>,
}

impl Invariant for LogMatching {
    fn look(&mut self, look: &Look<'_>) -> Verdict {
        for (member, written) in &look.written {
            self.see(*member, *written)?;
        }
        Ok(())
    }
}

impl LogMatching {
    fn see(&mut self, member: MemberId, written: Written) -> Verdict {
        let log = self.logs.entry(member).or_default();
        match written {
            Written::Entry { index, term, fingerprint } => {
                let before = index.checked_sub(1).and_then(|before| log.get(&before).copied());
                log.insert(index, term);
                let seen = self.entries.entry((index, term)).or_insert((fingerprint, before));
                if seen.0 != fingerprint {
                    return Err(format!(
                        "member {member} has another entry {index} of term {term}"
                    ));
                }
                // What is before the start of a log is not known.
                let (Some(known), Some(mine)) = (seen.1, before) else {
                    seen.1 = seen.1.or(before);
                    return Ok(());
                };
                if known != mine {
                    return Err(format!(
                        "before entry {index} of term {term} comes one of term {known}, and on member {member} one of {mine}"
                    ));
                }
            }
            Written::Truncated { from } => drop(log.split_off(&from)),
            // Its disk tells again what it still has, if it has to.
            Written::Crashed => log.clear(),
            Written::Vote { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_part_are_found() {
        let entry = |index, term, fingerprint| Written::Entry { index, term, fingerprint };
        let mut seen = LogMatching::default();
        for member in [1, 2] {
            assert_eq!(seen.see(member, entry(1, 1, 10)), Ok(()));
            assert_eq!(seen.see(member, entry(2, 1, 20)), Ok(()));
        }
        assert_eq!(seen.see(1, Written::Truncated { from: 2 }), Ok(()));
        assert_eq!(seen.see(1, entry(2, 2, 21)), Ok(()), "of another term");
        assert_eq!(seen.see(1, entry(3, 3, 30)), Ok(()));
        assert!(seen.see(2, entry(3, 3, 30)).is_err(), "another one before it");
        assert!(seen.see(3, entry(1, 1, 11)).is_err(), "another entry");
    }
}
