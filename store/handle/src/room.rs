//! What may be proposed when disks are full.
//!
//! One full disk stops nobody: the members that have room are a majority, and the group goes on with them; what
//! becomes of the one without room is its own affair. Once those with room are no majority any more, nothing
//! may grow: the next disk that is full to its last block would end the group.
//!
//! # Invariants
//! - Deletions, compaction, revoked leases, changes of the group and all upkeep go on when space is short.

use std::collections::{BTreeMap, BTreeSet};

use store_mvcc::types::{Command, Op, Txn};

use crate::handle::{Alarms, MemberId};

/// Whether a command takes up space for good, as etcd sees it.
pub fn grows(command: &Command) -> bool {
    fn puts(txn: &Txn) -> bool {
        let is_put = |op: &Op| match op {
            Op::Put(_) => true,
            Op::Txn(txn) => puts(txn),
            Op::Range(_) | Op::Delete(_) => false,
        };
        txn.success.iter().chain(&txn.failure).any(is_put)
    }
    match command {
        Command::Txn(txn) => puts(txn),
        Command::LeaseGrant { .. } => true,
        Command::LeaseRevoke { .. }
        | Command::LeaseKeepAlive { .. }
        | Command::LeaseExpire { .. }
        | Command::Compact { .. } => false,
    }
}

/// The voters that have no room, if they are so many that nothing may grow; else none.
pub fn in_the_way(
    alarms: &BTreeMap<MemberId, Alarms>,
    voters: &BTreeSet<MemberId>,
) -> Vec<MemberId> {
    let is_full = |id: &&MemberId| alarms.get(id).is_some_and(|alarms| alarms.no_space);
    let full: Vec<MemberId> = voters.iter().filter(is_full).copied().collect();
    let with_room = voters.len() - full.len();
    if with_room * 2 > voters.len() { Vec::new() } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeleteRequest, PutRequest, RangeRequest};

    #[test]
    fn puts_and_new_leases_grow_and_nothing_else_does() {
        let put = || Op::Put(PutRequest::default());
        let delete = || Op::Delete(DeleteRequest::default());
        let range = || Op::Range(RangeRequest::default());
        let txn = |success, failure| Txn { success, failure, ..Txn::default() };
        let nested = |inner| txn(vec![Op::Txn(inner)], vec![]);
        #[rustfmt::skip]
        let cases = [
            (Command::Txn(txn(vec![put()], vec![])),                    true),
            (Command::Txn(txn(vec![delete()], vec![put()])),            true),
            (Command::Txn(txn(vec![delete(), range()], vec![range()])), false),
            (Command::Txn(nested(txn(vec![], vec![put()]))),            true),
            (Command::Txn(nested(txn(vec![], vec![delete()]))),         false),
            (Command::LeaseGrant { id: 0, ttl_s: 1 },                   true),
            (Command::LeaseRevoke { id: 1 },                            false),
            (Command::LeaseKeepAlive { id: 1 },                         false),
            (Command::LeaseExpire { ids: vec![1] },                     false),
            (Command::Compact { revision: 1 },                          false),
        ];
        for (command, expected) in cases {
            assert_eq!(grows(&command), expected, "{command:?}");
        }
    }

    #[test]
    fn growth_goes_on_while_those_with_room_are_a_majority() {
        let full = |ids: &[MemberId]| -> BTreeMap<MemberId, Alarms> {
            let alarms = Alarms { no_space: true, ..Alarms::default() };
            ids.iter().map(|id| (*id, alarms)).collect()
        };
        #[rustfmt::skip]
        let cases: [(&[MemberId], u64, &[MemberId]); 9] = [
            // full, voters from 1 to,  in the way
            (&[],        3,             &[]),
            (&[1],       1,             &[1]),
            (&[2],       2,             &[2]),
            (&[1],       3,             &[]),
            (&[1, 3],    3,             &[1, 3]),
            (&[1, 3],    4,             &[1, 3]),
            (&[1, 3],    5,             &[]),
            (&[1, 3, 4], 5,             &[1, 3, 4]),
            // A learner's disk is in nobody's way.
            (&[1, 7],    3,             &[]),
        ];
        for (which, last, expected) in cases {
            let voters = (1..=last).collect();
            assert_eq!(in_the_way(&full(which), &voters), expected, "{which:?} of {last}");
        }
    }
}
