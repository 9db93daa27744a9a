//! Once a term has written, no earlier term does any more: two controllers never both act.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::History;
use crate::workload::FENCED_KEY;

pub(crate) fn check(history: &History) -> Verdict {
    let terms: BTreeMap<String, u64> =
        history.fenced.iter().map(|write| (write.value.to_string(), write.term)).collect();
    let mut latest = 0;
    for change in history.changes.values() {
        for write in change.writes.iter().filter(|write| write.key == FENCED_KEY) {
            let term = write.value.as_ref().and_then(|value| terms.get(value).copied());
            let Some(term) = term else { return Err("a write that no controller made".into()) };
            if term < latest {
                let revision = change.revision;
                return Err(format!(
                    "term {term} wrote revision {revision} after term {latest} had"
                ));
            }
            latest = term;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::change;
    use crate::history::FencedWrite;

    #[test]
    fn write_of_an_earlier_term_is_found() {
        let run = |terms: &[u64]| {
            let mut history = History::default();
            for (value, term) in (1u64..).zip(terms.iter().copied()) {
                let revision = i64::try_from(value).unwrap();
                let change = change(revision, &[(FENCED_KEY, &value.to_string())]);
                history.changes.insert(revision, change);
                history.fenced.push(FencedWrite { term, value, revision: None });
            }
            check(&history).is_ok()
        };
        assert!(run(&[1, 1, 2, 5, 5]));
        assert!(!run(&[1, 2, 1]));
    }
}
