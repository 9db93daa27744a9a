//! A watch shows every change of its keys after it began: once, whole, in order, without a gap; whatever
//! members it went on on.

use std::collections::BTreeMap;
use std::ops::Bound;

use store_handle::Revision;

use super::Verdict;
use crate::history::{History, Revised, Sight, Write};

pub(crate) fn check(history: &History) -> Verdict {
    if history.changes.is_empty() {
        return Ok(());
    }
    // Up to where each watcher has seen everything.
    let mut seen: BTreeMap<u32, Revision> = BTreeMap::new();
    for watched in &history.watched {
        let (watcher, prefix) = (watched.watcher, watched.prefix.as_str());
        let from = seen.get(&watcher).copied();
        match (&watched.sight, from) {
            (Sight::Begins { after }, Some(from)) if *after < from => {
                return Err(format!(
                    "watcher {watcher} was at {from}, and begins at {after} again"
                ));
            }
            (Sight::Begins { after }, _) => drop(seen.insert(watcher, *after)),
            (_, None) => return Err(format!("watcher {watcher} never began")),
            (Sight::Events { revision, writes }, Some(from)) => {
                let expected = next(history, prefix, from, Revision::MAX);
                let expected = expected.map(|(change, writes)| (change.revision, writes));
                if expected.as_ref() != Some(&(*revision, writes.iter().collect())) {
                    let expected = expected.map(|(revision, _)| revision);
                    return Err(format!(
                        "watcher {watcher} at {from} saw revision {revision}, or not all of it; {expected:?} is next"
                    ));
                }
                seen.insert(watcher, *revision);
            }
            (Sight::Progress { revision }, Some(from)) => {
                let last = history.changes.last_key_value().map_or(1, |(last, _)| *last);
                if *revision < from || *revision > last.max(1) {
                    return Err(format!("watcher {watcher} at {from} progressed to {revision}"));
                }
                if let Some((missed, _)) = next(history, prefix, from, *revision) {
                    let missed = missed.revision;
                    return Err(format!(
                        "watcher {watcher} at {from} progressed to {revision}, and missed {missed}"
                    ));
                }
                seen.insert(watcher, *revision);
            }
        }
    }
    Ok(())
}

/// The next change of such keys after `from`, and not after `to`.
fn next<'a>(
    history: &'a History,
    prefix: &str,
    from: Revision,
    to: Revision,
) -> Option<(&'a Revised, Vec<&'a Write>)> {
    let bounds = (Bound::Excluded(from), Bound::Included(to.max(from + 1)));
    let mut later = history.changes.range(bounds).filter(|(revision, _)| **revision <= to);
    later.find_map(|(_, change)| {
        let held: Vec<_> =
            change.writes.iter().filter(|write| write.key.starts_with(prefix)).collect();
        (!held.is_empty()).then_some((change, held))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{change, writes};
    use crate::history::Watched;

    /// `b1` begins after 1; `2a` sees revision 2 with a, `2ab` with both; `p3` progress.
    fn run(text: &str) -> bool {
        let mut history = History::default();
        history.changes.insert(2, change(2, &[("a", "1"), ("b", "1"), ("x", "1")]));
        history.changes.insert(3, change(3, &[("x", "2")]));
        history.changes.insert(4, change(4, &[("a", "")]));
        history.changes.insert(5, change(5, &[("a", "5")]));
        for word in text.split_whitespace() {
            let number = |text: &str| text.parse::<i64>().unwrap();
            let sight = match word.split_at(1) {
                ("b", after) => Sight::Begins { after: number(after) },
                ("p", revision) => Sight::Progress { revision: number(revision) },
                (revision, keys) => {
                    let revision = number(revision);
                    let all = &history.changes[&revision].writes;
                    let is_in = |write: &&Write| keys.contains(&write.key);
                    Sight::Events { revision, writes: all.iter().filter(is_in).cloned().collect() }
                }
            };
            history.watched.push(Watched { watcher: 1, prefix: String::new(), sight });
        }
        check(&history).is_ok()
    }

    #[test]
    fn mutants_of_a_watch_are_found() {
        #[rustfmt::skip]
        let cases = [
            ("b1 2abx 3x 4a 5a", true,  "all of it"),
            ("b2 3x p3 4a p5",   false, "progress before its events"),
            ("b2 3x p3 4a 5a p5", true, "progress after them"),
            ("b1 2abx 4a",       false, "a gap"),
            ("b1 2abx 2abx",     false, "twice"),
            ("b1 2ab",           false, "a part of a revision"),
            ("b2 4a 3x",         false, "out of order"),
            ("b2 3x b4 5a",      true,  "begun again after a compaction"),
            ("b2 3x b2 3x",      false, "back in time"),
            ("b5 p6",            false, "progress beyond history"),
            ("3x",               false, "never begun"),
        ];
        for (text, is_legal, what) in cases {
            assert_eq!(run(text), is_legal, "{what}");
        }
    }

    #[test]
    fn only_keys_of_the_prefix_are_expected() {
        let mut history = History::default();
        history.changes.insert(2, change(2, &[("a/1", "1"), ("b/1", "1")]));
        let mut see = |sight| {
            history.watched.push(Watched { watcher: 1, prefix: "a/".into(), sight });
        };
        see(Sight::Begins { after: 1 });
        see(Sight::Events { revision: 2, writes: writes(&[("a/1", "1")]) });
        assert_eq!(check(&history), Ok(()));
    }
}
