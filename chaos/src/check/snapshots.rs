//! A read of several keys shows all of them as they were at the revision that it names, and that is no earlier
//! than what was acknowledged before it was asked for.

use std::collections::BTreeMap;

use super::Verdict;
use super::real_time::acknowledged;
use crate::history::History;

pub(crate) fn check(history: &History) -> Verdict {
    let mut by_return: Vec<(u64, i64)> = acknowledged(history)
        .into_iter()
        .map(|(_, returned_us, revision)| (returned_us, revision))
        .collect();
    by_return.sort_unstable();
    let mut snapshots: Vec<_> = history.snapshots.iter().collect();
    snapshots.sort_by_key(|snapshot| snapshot.called_us);
    let (mut earlier, mut highest) = (by_return.into_iter().peekable(), 0);
    for snapshot in &snapshots {
        while let Some((_, revision)) = earlier.next_if(|(at, _)| *at < snapshot.called_us) {
            highest = highest.max(revision);
        }
        if snapshot.revision < highest {
            let (client, revision) = (snapshot.client, snapshot.revision);
            return Err(format!(
                "client {client} read {revision} after {highest} was acknowledged"
            ));
        }
    }
    snapshots.sort_by_key(|snapshot| snapshot.revision);
    let mut held: BTreeMap<&str, &str> = BTreeMap::new();
    let mut changes = history.changes.values().peekable();
    for snapshot in snapshots {
        while let Some(change) = changes.next_if(|change| change.revision <= snapshot.revision) {
            for write in &change.writes {
                match &write.value {
                    Some(value) => drop(held.insert(&write.key, value)),
                    None => drop(held.remove(write.key.as_str())),
                }
            }
        }
        let found = snapshot.found.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let is_of_it = |(key, _): &(&&str, &&str)| key.starts_with(&snapshot.prefix);
        if !held.iter().filter(is_of_it).map(|(key, value)| (*key, *value)).eq(found) {
            let (client, revision) = (snapshot.client, snapshot.revision);
            return Err(format!("client {client} read what was not there at revision {revision}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;
    use crate::history::{Outcome, Snapshot, Transfer};

    #[test]
    fn read_of_another_time_is_found() {
        let run = |called_us, revision, value: &str| {
            let mut history = History::default();
            history.changes.insert(2, change(2, &[("acct/1", "a"), ("other", "x")]));
            history.changes.insert(3, change(3, &[("acct/1", "b")]));
            history.transfers.push(Transfer {
                client: 1,
                writes: vec![("acct/1".into(), "b".into())],
                called_us: 5,
                returned_us: Some(8),
                outcome: Outcome::Wrote { revision: 3 },
            });
            let found = vec![("acct/1".into(), value.into())];
            let prefix = "acct/".into();
            history.snapshots.push(Snapshot { client: 2, called_us, revision, prefix, found });
            check(&history).is_ok()
        };
        assert!(run(9, 3, "b"));
        assert!(run(7, 2, "a"), "it was asked before the answer to the write");
        assert!(!run(9, 2, "a"), "stale");
        assert!(!run(9, 3, "a"), "not what was there");
    }
}
