//! A lease lasts at least its time after it was last renewed, and not for ever.
//!
//! Judged by the one clock that is never wrong: the simulation's, or that of whoever recorded the history.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::History;

/// What times in a history may be off by.
const GRAIN_US: u64 = 2_000;

pub(crate) fn check(history: &History) -> Verdict {
    let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
    for change in history.changes.values() {
        for write in change.writes.iter().filter(|write| write.value.is_none()) {
            gone.insert(&write.key, change.seen_us);
        }
    }
    for lease in history.leases.iter().filter(|lease| lease.is_put) {
        let Some(gone_us) = gone.get(lease.key.as_str()) else {
            return Err(format!("{} outlived its lease", lease.key));
        };
        // A clock that runs fast ends a lease early by as much as it gains meanwhile.
        let allowed_us = lease.ttl_ms * history.drift_ppm / 1_000 + GRAIN_US;
        let due_us = lease.renewed_us + lease.ttl_ms * 1_000;
        if !lease.is_revoked && gone_us + allowed_us < due_us {
            let early_ms = (due_us - gone_us) / 1_000;
            return Err(format!("{} went {early_ms} ms before its lease ended", lease.key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;
    use crate::history::{Lease, Revised};

    #[test]
    fn early_and_endless_leases_are_found() {
        let run = |gone_ms: Option<u64>, is_revoked, drift_ppm| {
            let key = "lease/1".to_owned();
            let lease = Lease {
                id: 1,
                key: key.clone(),
                ttl_ms: 2_000,
                renewed_us: 500_000,
                is_revoked,
                is_put: true,
            };
            let mut history = History { leases: vec![lease], drift_ppm, ..History::default() };
            if let Some(gone_ms) = gone_ms {
                let gone = Revised { seen_us: gone_ms * 1_000, ..change(2, &[(&key, "")]) };
                history.changes.insert(2, gone);
            }
            check(&history).is_ok()
        };
        assert!(run(Some(2_500), false, 0));
        assert!(!run(Some(2_450), false, 0), "early");
        assert!(run(Some(2_450), false, 50_000), "as early as clocks are wrong");
        assert!(run(Some(900), true, 0), "revoked");
        assert!(!run(None, false, 0), "for ever");
    }
}
