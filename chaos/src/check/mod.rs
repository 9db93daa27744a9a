//! What must hold of every run: one file a check. Each finds the history that it is meant to find.

mod fenced;
mod kube;
mod leases;
mod linearizable;
mod nothing_lost;
mod one_leader;
pub mod raft;
mod real_time;
mod same_state;
mod snapshots;
mod transfers;
mod watches;

use crate::history::History;

/// What a check found wrong, in a sentence.
pub type Verdict = Result<(), String>;

/// A check of a whole run.
pub type Check = fn(&History) -> Verdict;

/// The checks of a store.
const OF_STORES: [(&str, Check); 10] = [
    ("one-leader", one_leader::check),
    ("linearizable", linearizable::check),
    ("real-time", real_time::check),
    ("nothing-lost", nothing_lost::check),
    ("transfers", transfers::check),
    ("snapshots", snapshots::check),
    ("watches", watches::check),
    ("leases", leases::check),
    ("fenced", fenced::check),
    ("same-state", same_state::check),
];

/// Those that judge a store by what its own clients did and heard.
pub fn of_stores() -> impl Iterator<Item = (&'static str, Check)> {
    OF_STORES.into_iter()
}

/// Every check by name.
pub fn all() -> impl Iterator<Item = (&'static str, Check)> {
    OF_STORES.into_iter().chain(kube::CHECKS)
}

/// The same for Kubernetes' own programs: where they promise less than ours do, that is what is asked.
pub fn of_upstream() -> impl Iterator<Item = (&'static str, Check)> {
    let theirs = |name| kube::UPSTREAM.into_iter().find(|(own, _)| *own == name);
    all().map(move |(name, check)| theirs(name).unwrap_or((name, check)))
}

/// What the checks find wrong with a run.
pub fn violations(history: &History) -> Vec<String> {
    let found = all().filter_map(|(name, check)| {
        let reason = check(history).err()?;
        Some(format!("{name}: {reason}"))
    });
    found.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::history::{Revised, Write};

    /// A revision that put these keys; an empty value deletes.
    pub(crate) fn change(revision: i64, writes: &[(&str, &str)]) -> Revised {
        Revised { revision, seen_us: 0, writes: self::writes(writes) }
    }

    pub(crate) fn writes(writes: &[(&str, &str)]) -> Vec<Write> {
        let write = |&(key, value): &(&str, &str)| Write {
            key: key.into(),
            value: (!value.is_empty()).then(|| value.into()),
        };
        writes.iter().map(write).collect()
    }
}
