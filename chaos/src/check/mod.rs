//! What must hold of every run: one file a check. Each finds the history that it is meant to find.

mod fenced;
mod linearizable;
mod nothing_lost;
mod one_leader;
mod real_time;
mod same_state;

use crate::history::History;

/// What a check found wrong, in a sentence.
pub type Verdict = Result<(), String>;

/// A check of a whole run.
pub type Check = fn(&History) -> Verdict;

/// Every check by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("one leader a term", one_leader::check),
    ("linearizable", linearizable::check),
    ("revisions follow real time", real_time::check),
    ("nothing acknowledged is lost", nothing_lost::check),
    ("no term writes after its successor", fenced::check),
    ("all members hold the same", same_state::check),
];

/// What the checks find wrong with a run.
pub fn violations(history: &History) -> Vec<String> {
    let found = CHECKS.iter().filter_map(|(name, check)| {
        let reason = check(history).err()?;
        Some(format!("{name}: {reason}"))
    });
    found.collect()
}
