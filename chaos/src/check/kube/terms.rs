//! Once controllers of a term have written, none of an earlier term does any more.
//!
//! Two terms, or a controller and somebody else, may write the very same; then it counts for whoever does no harm.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Verdict;
use crate::history::History;
use crate::kube::story::{FencedReply, fingerprint};

pub(crate) fn check(history: &History) -> Verdict {
    let mut by_put: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut free: BTreeSet<u64> = BTreeSet::new();
    for &(put, term) in &history.kube.puts {
        let Some(term) = term else {
            free.insert(put);
            continue;
        };
        let (first, last) = by_put.entry(put).or_insert((term, term));
        (*first, *last) = (term.min(*first), term.max(*last));
    }
    let mut writes: Vec<(i64, u64, u64)> = Vec::new();
    for (revision, change) in &history.changes {
        for write in &change.writes {
            let value = write.value.as_deref().unwrap_or_default();
            let put = fingerprint(write.key.as_bytes(), value.as_bytes());
            let terms = by_put.get(&put).filter(|_| !free.contains(&put));
            writes.extend(terms.map(|(first, last)| (*revision, *first, *last)));
        }
    }
    let told = history.kube.fenced.iter();
    writes.extend(told.map(|&FencedReply { term, revision }| (revision, term, term)));
    writes.sort_unstable();
    let mut latest = 0;
    for (revision, first, last) in writes {
        if last < latest {
            return Err(format!(
                "a controller of term {last} wrote revision {revision} after term {latest} had"
            ));
        }
        latest = latest.max(first);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;

    #[test]
    fn write_of_an_earlier_term_is_found_in_whatever_order_it_is_told() {
        let run = |writes: &[(u64, i64)]| {
            let mut history = History::default();
            let write = |&(term, revision)| FencedReply { term, revision };
            history.kube.fenced = writes.iter().map(write).collect();
            check(&history).is_ok()
        };
        assert!(run(&[(1, 2), (2, 9), (1, 8)]));
        assert!(!run(&[(1, 2), (2, 8), (1, 9)]));
    }

    #[test]
    fn write_whose_outcome_nobody_heard_counts() {
        let run = |terms: &[Option<u64>]| {
            let mut history = History::default();
            for (revision, term) in (1..).zip(terms) {
                let value = format!("{revision}");
                history.changes.insert(revision, change(revision, &[("a", &value)]));
                let put = fingerprint(b"a", value.as_bytes());
                history.kube.puts.push((put, *term));
            }
            check(&history).is_ok()
        };
        let (one, two) = (Some(1), Some(2));
        assert!(run(&[one, one, two, None]));
        assert!(!run(&[one, two, one]));
    }
}
