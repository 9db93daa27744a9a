//! Each key behaves as one register: there is an order of all its operations that explains what clients heard
//! and respects who came after whom.
//!
//! Keys are checked apart: together they would take exponentially longer, and a violation shows in one. Where the
//! store's whole history is told, it says what became of a write whose client does not know: it was done before
//! somebody saw it, or never. Without that, each is open to the end, and the search grows with every one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, check_operations_timeout};

use super::Verdict;
use crate::history::{Action, History, Operation, Outcome};

const TIME_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = (Action, Outcome);
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, (action, outcome): &(Action, Outcome)) -> (bool, Option<u64>) {
        let matches = |expected: Option<u64>| expected == *state;
        match (*action, *outcome) {
            (Action::Get, Outcome::Read { found }) => (matches(found), *state),
            (Action::Put { value }, Outcome::Wrote { .. } | Outcome::Unknown) => {
                (true, Some(value))
            }
            (Action::Cas { expected, value }, Outcome::Wrote { .. }) => {
                (matches(expected), Some(value))
            }
            (Action::Cas { expected, .. }, Outcome::Differed) => (!matches(expected), *state),
            (Action::Cas { expected, value }, Outcome::Unknown) if matches(expected) => {
                (true, Some(value))
            }
            (_, Outcome::Unknown) => (true, *state),
            // An answer to another question; only a history from elsewhere has it.
            _ => (false, *state),
        }
    }
}

pub(crate) fn check(history: &History) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<porcupine_rs::Operation<Register>>> = BTreeMap::new();
    let seen = seen(history);
    for operation in &history.operations {
        if let Some(known) = known(operation, seen.as_ref()) {
            keys.entry(&operation.key).or_default().push(known);
        }
    }
    for (key, operations) in keys {
        match check_operations_timeout(&operations, TIME_MAX) {
            CheckResult::Ok => {}
            CheckResult::Illegal => return Err(format!("key {key} is not one register")),
            CheckResult::Unknown => return Err(format!("key {key} took too long to check")),
        }
    }
    Ok(())
}

/// When each value was first seen in the store, if the history tells all that the store held.
fn seen(history: &History) -> Option<BTreeMap<u64, u64>> {
    let mut seen = BTreeMap::new();
    for change in history.changes.values() {
        for write in &change.writes {
            if let Some(value) = write.register() {
                seen.entry(value).or_insert(change.seen_us);
            }
        }
    }
    (!history.changes.is_empty()).then_some(seen)
}

/// As the checker wants it; nothing if nothing can follow from it.
fn known(
    operation: &Operation,
    seen: Option<&BTreeMap<u64, u64>>,
) -> Option<porcupine_rs::Operation<Register>> {
    let is_read = operation.action == Action::Get;
    let returned_us = match operation.outcome {
        Outcome::Nothing => return None,
        Outcome::Unknown if is_read => return None,
        Outcome::Unknown => match seen {
            // Whoever reads it all the same finds out.
            Some(seen) => Some((*seen.get(&operation.action.value()?)?).max(operation.called_us)),
            // It may take effect at any time from its call on.
            None => None,
        },
        _ => operation.returned_us,
    };
    Some(porcupine_rs::Operation {
        client_id: Some(operation.client),
        call_time: time(operation.called_us),
        return_time: returned_us.map_or(i64::MAX, time),
        op: (operation.action, operation.outcome),
        metadata: None,
    })
}

fn time(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;
    use crate::history::Revised;

    /// `client call return action`: `p1` put 1, `c1>2` put 2 if 1, `r1` read 1, `r-` read nothing; a `?`
    /// behind it: outcome unknown; a `!`: it differed.
    fn history(lines: &str) -> History {
        let number = |text: &str| text.parse().ok();
        let operations = lines.split(',').map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (what, mark) = match words[3].strip_suffix(['?', '!']) {
                Some(what) => (what, words[3].chars().last()),
                None => (words[3], None),
            };
            let (action, outcome) = match what.split_at(1) {
                ("p", value) => {
                    (Action::Put { value: number(value).unwrap() }, Outcome::Wrote { revision: 0 })
                }
                ("c", both) => {
                    let (expected, value) = both.split_once('>').unwrap();
                    let value = number(value).unwrap();
                    let wrote = Outcome::Wrote { revision: 0 };
                    (Action::Cas { expected: number(expected), value }, wrote)
                }
                (_, value) => (Action::Get, Outcome::Read { found: number(value) }),
            };
            let outcome = match mark {
                Some('?') => Outcome::Unknown,
                Some(_) => Outcome::Differed,
                None => outcome,
            };
            Operation {
                client: words[0].parse().unwrap(),
                key: "k".into(),
                action,
                called_us: words[1].parse().unwrap(),
                returned_us: Some(words[2].parse().unwrap()),
                outcome,
            }
        });
        History { operations: operations.collect(), ..History::default() }
    }

    #[test]
    fn history_of_the_store_says_what_became_of_unknown_writes() {
        let run = |lines: &str, stored: &[(i64, u64, &str)]| {
            let mut history = history(lines);
            for &(revision, seen_us, value) in stored {
                let stored = Revised { seen_us, ..change(revision, &[("k", value)]) };
                history.changes.insert(revision, stored);
            }
            check(&history).is_ok()
        };
        assert!(run("1 0 2 p1?, 2 3 4 r-, 2 5 6 r1", &[(2, 5, "1")]), "seen at 5, done before");
        assert!(!run("1 0 2 p1?, 2 3 4 r-, 2 5 6 r1", &[(2, 2, "1")]), "seen at 2, not read");
        assert!(!run("1 0 2 p1?, 2 5 6 r1", &[(2, 3, "9")]), "read, and never done");
        let open: Vec<_> = (0..200).map(|value| format!("1 {value} 500 p{value}?")).collect();
        let open = format!("{}, 2 501 502 p900, 2 503 504 r900, 2 505 506 r-", open.join(", "));
        assert!(!run(&open, &[(2, 502, "900")]), "and it is quickly seen");
    }

    #[test]
    fn mutants_of_a_register_are_found() {
        #[rustfmt::skip]
        let cases = [
            ("1 0 2 p1, 2 3 4 r1",                     true,  "a read sees the write before it"),
            ("1 0 2 p1, 2 1 3 r-",                     true,  "a read may come before a write that overlaps it"),
            ("1 0 2 p1, 2 3 4 r-",                     false, "a stale read"),
            ("1 0 2 p1, 1 3 4 p2, 2 5 6 r1",           false, "a lost write"),
            ("1 0 2 p1, 2 1 9 r1, 3 3 4 r1",           true,  "overlapping reads"),
            ("1 0 9 p1, 2 1 2 r1, 3 3 4 r-",           false, "time running back between two reads"),
            ("1 0 2 p1?, 2 3 4 r-, 2 5 6 r1",          true,  "an unknown write may come late"),
            ("1 0 2 p1?, 2 3 4 r1, 2 5 6 r-",          false, "an unknown write that is undone"),
            ("1 0 2 p1, 1 3 4 c1>2, 2 3 4 c1>3",       false, "two compare-and-puts of the same value"),
            ("1 0 2 p1, 1 3 4 c1>2, 2 3 4 c1>3!",      true,  "one of them finds it changed"),
            ("1 0 2 p1, 1 3 4 c1>2!",                  false, "a refusal without a reason"),
        ];
        for (lines, is_legal, what) in cases {
            assert_eq!(check(&history(lines)).is_ok(), is_legal, "{what}");
        }
    }
}
