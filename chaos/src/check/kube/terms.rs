//! Once controllers of a term have written, none of an earlier term does any more.

use crate::check::Verdict;
use crate::history::History;
use crate::kube::story::FencedReply;

pub(crate) fn check(history: &History) -> Verdict {
    let mut writes: Vec<FencedReply> = history.kube.fenced.clone();
    writes.sort_by_key(|write| write.revision);
    let mut latest = 0;
    for FencedReply { term, revision } in writes {
        if term < latest {
            return Err(format!(
                "a controller of term {term} wrote revision {revision} after term {latest} had"
            ));
        }
        latest = term;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
