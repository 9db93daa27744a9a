//! What state disks with a bug hold after a crash.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;
use store_handle::MemberId;
use store_mvcc::{Record, codec};
use store_raft::disk::Pair;
use store_raft::types::Membership;

/// The records of a member's own, as `store-raft` keeps them.
const APPLIED: &[u8] = b"A";
const MEMBERS: &[u8] = b"M";

/// A part of the next write, which should have been there whole or not at all.
pub(crate) fn torn(lost: Vec<Vec<Record>>, rng: &mut StdRng) -> Vec<Record> {
    let mut next = lost.into_iter().next().unwrap_or_default();
    next.truncate(rng.random_range(0..=next.len()));
    next
}

/// How far the last write said it had come, without what it wrote.
pub(crate) fn applied_only(lost: &[Vec<Record>]) -> Vec<Record> {
    let is_applied = |record: &&Record| matches!(record, Record::Put { key, .. } if key == APPLIED);
    lost.iter().flatten().rfind(is_applied).cloned().into_iter().collect()
}

/// What leads from the records of now to those of before.
pub(crate) fn back_to(before: Vec<Pair>, now: &[Pair]) -> Vec<Record> {
    let before: BTreeMap<_, _> = before.into_iter().collect();
    let gone = now.iter().filter(|(key, _)| !before.contains_key(key));
    let mut writes: Vec<Record> =
        gone.map(|(key, _)| Record::Delete { key: key.clone() }).collect();
    writes.extend(before.into_iter().map(|(key, value)| Record::Put { key, value }));
    writes
}

/// The same, with nobody on the list of members that were removed.
pub(crate) fn without_removed(writes: Vec<Record>) -> Vec<Record> {
    let each = writes.into_iter().map(|write| match write {
        Record::Put { key, value } if key == MEMBERS => {
            let (members, _): (Membership, BTreeSet<MemberId>) =
                codec::decode(&value).expect("store-raft has just written it");
            let none = BTreeSet::<MemberId>::new();
            Record::Put { key, value: codec::encode(&(members, none)) }
        }
        other => other,
    });
    each.collect()
}
