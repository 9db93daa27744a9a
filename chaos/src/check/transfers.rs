//! A transaction of several keys is there whole, in one revision, or not at all; and what they hold together
//! stays what it was.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{History, Outcome, Write};
use crate::workload::{ACCOUNTS, amount};

/// What an account holds before it is first written.
const START: i64 = 100;

pub(crate) fn check(history: &History) -> Verdict {
    let mut wanted = BTreeMap::new();
    for transfer in &history.transfers {
        for (_, value) in &transfer.writes {
            wanted.insert(value.as_str(), transfer);
        }
    }
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    for change in history.changes.values() {
        let accounts: Vec<&Write> =
            change.writes.iter().filter(|write| write.key.starts_with(ACCOUNTS)).collect();
        let Some(first) = accounts.first() else { continue };
        let revision = change.revision;
        let by = first.value.as_deref().and_then(|value| wanted.get(value));
        let Some(by) = by else { return Err(format!("nobody asked for revision {revision}")) };
        let is_whole = by.writes.len() == accounts.len()
            && accounts
                .iter()
                .zip(&by.writes)
                .all(|(it, (key, value))| it.key == *key && it.value.as_ref() == Some(value));
        if !is_whole {
            return Err(format!("revision {revision} is a part of a transaction"));
        }
        if matches!(by.outcome, Outcome::Nothing | Outcome::Differed) {
            return Err(format!("revision {revision} was done, and its client told otherwise"));
        }
        for write in accounts {
            held.insert(&write.key, write.value.as_deref().and_then(amount).unwrap_or(0));
        }
        let gained: i64 = held.values().map(|amount| amount - START).sum();
        if gained != 0 {
            return Err(format!(
                "with revision {revision} accounts hold {gained} more than before"
            ));
        }
    }
    lost(history)
}

fn lost(history: &History) -> Verdict {
    if history.changes.is_empty() {
        return Ok(());
    }
    for transfer in &history.transfers {
        let Outcome::Wrote { revision } = transfer.outcome else { continue };
        let (_, value) = &transfer.writes[0];
        let stored = history.changes.get(&revision);
        let is_there = stored
            .is_some_and(|change| change.writes.iter().any(|it| it.value.as_ref() == Some(value)));
        if !is_there {
            return Err(format!("{value} was acknowledged at {revision}, and lost"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;
    use crate::history::Transfer;

    #[test]
    fn torn_and_lost_transfers_are_found() {
        let asked = [("acct/1", "90/1"), ("acct/2", "110/2")];
        let run = |stored: &[(&str, &str)], outcome| {
            let mut history = History::default();
            history.transfers.push(Transfer {
                client: 1,
                writes: asked.iter().map(|&(key, value)| (key.into(), value.into())).collect(),
                called_us: 0,
                returned_us: Some(1),
                outcome,
            });
            history.changes.insert(2, change(2, stored));
            check(&history).is_ok()
        };
        assert!(run(&asked, Outcome::Wrote { revision: 2 }));
        assert!(run(&asked, Outcome::Unknown));
        assert!(!run(&asked[..1], Outcome::Unknown), "half of it");
        assert!(!run(&asked, Outcome::Wrote { revision: 3 }), "elsewhere");
        assert!(!run(&asked, Outcome::Nothing), "done after all");
        assert!(!run(&[("acct/1", "90/3"), ("acct/2", "110/4")], Outcome::Unknown), "of nobody");
    }
}
