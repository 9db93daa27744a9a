//! What this member may serve, as it stands: a learner little, one whose state has diverged nothing of it, and
//! nothing that grows while a member's disk is full.
//!
//! # Invariants
//! - Deletions, compaction, revoked leases, changes of the group and all upkeep go on when space is short.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use store_handle::{Alarms, Command, MemberId, Op, STAYS_LEARNER, Txn};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::errors;
use crate::facade::Facade;

/// How often a member looks whether it has a vote.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a learner answers; of ranges, those that are serializable.
const FOR_LEARNERS: [(&str, &str); 3] = [
    ("etcdserverpb.KV", "Range"),
    ("etcdserverpb.Maintenance", "Status"),
    ("etcdserverpb.Maintenance", "Snapshot"),
];

/// Services whose answers come out of the state.
const OF_THE_STATE: [&str; 5] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "v3lockpb.Lock",
    "v3electionpb.Election",
];

/// Whether this member may answer a call at all.
pub(crate) fn admit(facade: &Facade, service: &str, method: &str) -> Result<(), Status> {
    if OF_THE_STATE.contains(&service) && facade.is_corrupt() {
        return Err(errors::corrupt());
    }
    let is_health = service.starts_with("grpc.");
    if facade.is_learner() && !is_health && !FOR_LEARNERS.contains(&(service, method)) {
        return Err(errors::not_for_learners());
    }
    Ok(())
}

pub(crate) fn is_corrupt(alarms: &BTreeMap<MemberId, Alarms>, member: MemberId) -> bool {
    alarms.get(&member).is_some_and(|alarms| alarms.is_corrupt || alarms.is_in_doubt)
}

/// Whether a command takes up space for good, as etcd sees it.
pub(crate) fn grows(command: &Command) -> bool {
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

/// Keeps an eye on this member's part in the group, until told to stop.
pub(crate) async fn watch(facade: Arc<Facade>, stop: CancellationToken) -> TaskResult {
    loop {
        let members = facade.handle.members();
        let me = members.iter().find(|member| member.id == facade.member_id);
        facade.note_learner(
            me.is_some_and(|me| !me.is_voter && me.labels.contains_key(STAYS_LEARNER)),
        );
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use store_handle::{DeleteRequest, PutRequest, RangeRequest};

    use super::*;

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
}
