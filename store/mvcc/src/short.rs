//! Which batches are certain to be applied quickly: a few look-ups of keys, and no stored record.
//!
//! # Invariants
//! - What is said to be short asks `Versions` for nothing, unless it is said that replaced versions may be missing
//!   from events.

use crate::state::State;
use crate::types::{
    Batch, Command, Compare, DeleteRequest, Op, PutRequest, RangeRequest, Target, Txn,
};

impl State {
    /// Whether applying the batch looks at single keys only, and at no value that is not in memory.
    /// `with_replaced`: neither would it be for the sake of watchers, who are told what was replaced.
    pub fn is_short(&self, batch: &Batch, with_replaced: bool) -> bool {
        batch.commands.iter().all(|fenced| match &fenced.command {
            Command::Txn(txn) => self.is_short_txn(txn, with_replaced),
            Command::LeaseGrant { .. } | Command::LeaseKeepAlive { .. } => true,
            // As much as there is under the lease, or was written since the last compaction.
            Command::LeaseRevoke { .. } | Command::LeaseExpire { .. } | Command::Compact { .. } => {
                false
            }
        })
    }

    fn is_short_txn(&self, txn: &Txn, with_replaced: bool) -> bool {
        let is_short_compare = |compare: &Compare| {
            let is_value = matches!(compare.target, Target::Value(_));
            compare.range.is_single() && (!is_value || self.is_at_hand(&compare.range.start))
        };
        let is_short_op = |op: &Op| match op {
            Op::Put(put) => !needs_replaced(put, with_replaced) || self.is_at_hand(&put.key),
            Op::Delete(DeleteRequest { range, prev_kv }) => {
                range.is_single() && (!(*prev_kv || with_replaced) || self.is_at_hand(&range.start))
            }
            Op::Range(RangeRequest { range, revision, .. }) => {
                range.is_single() && *revision <= 0 && self.is_at_hand(&range.start)
            }
            Op::Txn(txn) => self.is_short_txn(txn, with_replaced),
        };
        txn.compare.iter().all(is_short_compare)
            && txn.success.iter().chain(&txn.failure).all(is_short_op)
    }

    /// Whether the key's value is in memory, or there is none.
    fn is_at_hand(&self, key: &[u8]) -> bool {
        self.keys.latest(key).is_none_or(|latest| self.keys.value(latest).is_some())
    }
}

fn needs_replaced(put: &PutRequest, with_replaced: bool) -> bool {
    with_replaced || put.prev_kv || put.ignore_value || put.ignore_lease
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::state::tests::batch;
    use crate::types::{Fenced, Term};
    use crate::versions::{Records, Versions};

    /// Stored records, and how often they were asked for.
    #[derive(Debug, Default)]
    struct Counted(Records, AtomicUsize);

    impl Versions for Counted {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(key)
        }
    }

    #[test]
    fn what_is_short_asks_for_no_record() {
        let (short, long) = (Cell::new(0), Cell::new(0));
        let log = (prop::collection::vec(batch(), 1..30), any::<bool>(), 0_usize..200);
        proptest!(ProptestConfig::with_cases(200), |((log, with_replaced, bytes_max) in log)| {
            let (mut state, mut disk) = (State::new(Some(bytes_max)), Counted::default());
            for batch in log {
                let is_short = state.is_short(&batch, with_replaced);
                let applied = state.apply(Term(3), &batch, &disk);
                let asked = std::mem::take(disk.1.get_mut());
                if is_short {
                    prop_assert_eq!(asked, 0);
                    prop_assert!(!with_replaced || applied.lacks.is_empty());
                    short.set(short.get() + 1);
                } else {
                    long.set(long.get() + usize::from(asked > 0 || !applied.lacks.is_empty()));
                }
                disk.0.store(applied.writes);
                state.settle();
            }
        });
        assert!(short.get() > 100 && long.get() > 100, "{short:?} short, {long:?} had to read");
    }

    #[test]
    fn a_value_that_left_memory_makes_what_needs_it_long() {
        let mut state = State::new(Some(0));
        let put = PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() };
        let with_prev = PutRequest { prev_kv: true, ..put.clone() };
        let batch = |put: &PutRequest| {
            let command =
                Command::Txn(Txn { success: vec![Op::Put(put.clone())], ..Txn::default() });
            Batch { now_ms: 0, commands: vec![Fenced { fence: None, command }] }
        };
        assert!(state.is_short(&batch(&with_prev), true), "there is nothing to be replaced");
        state.apply(Term(1), &batch(&put), &Records::default());
        assert!(state.is_short(&batch(&with_prev), true), "it is not stored yet");
        state.settle();
        assert!(state.is_short(&batch(&put), false));
        assert!(!state.is_short(&batch(&put), true), "watchers would hear of it");
        assert!(!state.is_short(&batch(&with_prev), false), "the client wants it");
    }
}
