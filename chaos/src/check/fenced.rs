//! Once a term has written, no earlier term does any more: two controllers never both act.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::History;
use crate::workload::{FENCED_KEY, number};

pub(crate) fn check(history: &History) -> Verdict {
    let terms: BTreeMap<u64, u64> =
        history.fenced.iter().map(|write| (write.value, write.term)).collect();
    let mut latest = 0;
    for event in history.changes.iter().flat_map(|change| change.events.iter()) {
        if event.kv.key != FENCED_KEY.as_bytes() {
            continue;
        }
        let term = number(&event.kv.value).and_then(|value| terms.get(&value).copied());
        let Some(term) = term else { return Err("a write that no controller made".into()) };
        if term < latest {
            let revision = event.kv.mod_revision;
            return Err(format!("term {term} wrote revision {revision} after term {latest} had"));
        }
        latest = term;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store_handle::{Change, Event, EventKind, KeyValue};

    use super::*;
    use crate::history::FencedWrite;

    #[test]
    fn write_of_an_earlier_term_is_found() {
        let run = |terms: &[u64]| {
            let mut history = History::default();
            for (value, term) in (1u64..).zip(terms.iter().copied()) {
                let kv = KeyValue {
                    key: FENCED_KEY.into(),
                    value: value.to_string().into(),
                    ..KeyValue::default()
                };
                let event = Event { kind: EventKind::Put, kv, prev: None };
                history.changes.push(Change { revision: 1, events: [event].into() });
                history.fenced.push(FencedWrite { term, value, revision: None });
            }
            check(&history).is_ok()
        };
        assert!(run(&[1, 1, 2, 5, 5]));
        assert!(!run(&[1, 2, 1]));
    }
}
