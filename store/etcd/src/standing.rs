//! What this member may serve, as it stands: a learner little, one whose state has diverged nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use store_handle::{Alarms, MemberId, STAYS_LEARNER};
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
