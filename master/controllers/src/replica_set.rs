//! Keeps as many pods as a ReplicaSet (or a ReplicationController) asks for.
//!
//! Watches: `ReplicaSet`, `ReplicationController`; `Pod`, through its owner or by labels.
//! Writes: `Pod`, the sets' status.
//!
//! # Invariants
//! - A pod that is being deleted is neither counted nor deleted again.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
    ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use master_api::selector::LabelSelector;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use serde::Serialize;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::informers::Known;
use crate::owner::{
    claim_all, controller_key, controller_of, is_terminating, name_of, namespace_of, selector_of,
    selects,
};
use crate::pods;

/// Pods created or deleted in one pass at most.
const BURST_MAX: usize = 500;
/// The first batch of creations; each that succeeds entirely doubles the next.
const BATCH_FIRST: usize = 1;
/// Deletions under way at a time.
const DELETES_AT_ONCE: usize = 64;

/// What a ReplicaSet and a ReplicationController have in common.
trait Set: Known + Serialize {
    const LOG_NAME: &'static str;
    fn replicas(&self) -> usize;
    fn min_ready_s(&self) -> i32;
    fn selector(&self) -> Option<LabelSelector>;
    fn template(&self) -> PodTemplateSpec;
    /// The status in the words of a ReplicaSet.
    fn status(&self) -> ReplicaSetStatus;
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Set for ReplicaSet {
    const LOG_NAME: &'static str = "replicaset-controller";

    fn replicas(&self) -> usize {
        count(self.spec.as_ref().and_then(|spec| spec.replicas))
    }

    fn min_ready_s(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        selector_of(self.spec.as_ref().map(|spec| &spec.selector))
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Set for ReplicationController {
    const LOG_NAME: &'static str = "replication-controller";

    fn replicas(&self) -> usize {
        count(self.spec.as_ref().and_then(|spec| spec.replicas))
    }

    fn min_ready_s(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.as_ref().filter(|labels| !labels.is_empty())?;
        Some(LabelSelector::from_map(&serde_json::to_value(labels).ok()?))
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }

    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |condition: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        };
        ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        };
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// Upstream writes no zeros, except for `replicas`.
fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Starts the controller of ReplicaSets.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    start_for::<ReplicaSet>(cx, group);
}

/// Starts the controller of ReplicationControllers.
pub(crate) fn start_replication(cx: &Cx, group: &mut Group) {
    start_for::<ReplicationController>(cx, group);
}

fn start_for<S: Set>(cx: &Cx, group: &mut Group) {
    let sets: Store<S> = S::store(&cx.informers).clone();
    Controller::new(S::LOG_NAME, cx, group)
        .of(&sets)
        .watches(&cx.informers.pods, move |pod| owners(&sets, pod))
        .run(8, reconcile::<S>);
}

/// The set that controls the pod; for an orphan, every set that would take it.
fn owners<S: Set>(sets: &Store<S>, pod: &Pod) -> Vec<String> {
    if controller_of(&pod.metadata).is_some() {
        return controller_key(&pod.metadata, &S::kind(&())).into_iter().collect();
    }
    if is_terminating(&pod.metadata) {
        return Vec::new();
    }
    let all = sets.list_in(namespace_of(&pod.metadata));
    let wants = |set: &Arc<S>| set.selector().is_some_and(|s| selects(&s, &pod.metadata));
    all.into_iter().filter(wants).map(|set| key_of(&*set)).collect()
}

async fn reconcile<S: Set>(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(set) = S::store(&cx.informers).get(&key) else {
        return Ok(Requeue::OnChange);
    };
    let Some(selector) = set.selector() else { return Ok(Requeue::OnChange) };
    let claimed = claim_all(&cx, &*set, &selector, &cx.informers.pods).await?;
    let active: Vec<Arc<Pod>> =
        claimed.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let acted = match plan(set.replicas(), active.len(), is_terminating(set.meta())) {
        Action::None => Ok(()),
        Action::Create(count) => create(&cx, &*set, count).await,
        Action::Delete(count) => delete(&cx, &*set, &active, count).await,
    };
    let now = cx.now();
    let mut status = observed(&*set, &claimed, now);
    note_failure(&mut status, &acted, active.len() > set.replicas(), cx.now_s());
    if status != set.status() {
        cx.replace_status(&set.with_status(status)).await.or_gone()?;
    }
    acted?;
    let waits = active.iter().filter_map(|pod| pods::available_in(pod, set.min_ready_s(), now));
    let next = waits.filter(|left| !left.is_zero()).min();
    Ok(next.map_or(Requeue::OnChange, |left| Requeue::After(left + Duration::from_millis(50))))
}

/// One pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    None,
    Create(usize),
    Delete(usize),
}

fn plan(wanted: usize, active: usize, is_terminating: bool) -> Action {
    match (wanted, active) {
        _ if is_terminating => Action::None,
        (wanted, active) if active < wanted => Action::Create((wanted - active).min(BURST_MAX)),
        (wanted, active) if active > wanted => Action::Delete((active - wanted).min(BURST_MAX)),
        _ => Action::None,
    }
}

/// Creates in batches of 1, 2, 4, …: a template that the server refuses is tried once, not 500
/// times.
async fn create<S: Set>(cx: &Cx, set: &S, count: usize) -> Result<(), Error> {
    let pod = pods::from_template(set, &set.template());
    let (mut left, mut batch) = (count, BATCH_FIRST);
    while left > 0 {
        let size = batch.min(left);
        let created: Vec<Result<Pod, Error>> = stream::iter((0..size).map(|_| cx.create_pod(&pod)))
            .buffer_unordered(size)
            .collect()
            .await;
        let mut failures = Vec::new();
        for result in created {
            match result {
                Ok(pod) => {
                    let name = name_of(&pod.metadata);
                    cx.events.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                }
                Err(error) if error.is_namespace_terminating() => return Ok(()),
                Err(error) => {
                    let text = format!("Error creating: {}", error.message());
                    cx.events.warning(set, "FailedCreate", text);
                    failures.push(error);
                }
            }
        }
        first_of(failures, size)?;
        left -= size;
        batch *= 2;
    }
    Ok(())
}

async fn delete<S: Set>(cx: &Cx, set: &S, active: &[Arc<Pod>], count: usize) -> Result<(), Error> {
    let victims = pods::by_deletion_rank(active, &related(cx, set), cx.now());
    let deletes = victims.into_iter().take(count).map(|pod| async move {
        let result = cx.delete(&*pod).await.or_gone();
        (pod, result)
    });
    let deleted: Vec<_> = stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).collect().await;
    let mut failures = Vec::new();
    for (pod, result) in deleted {
        let name = name_of(&pod.metadata);
        match result {
            Ok(()) => cx.events.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) => {
                let text = format!("Error deleting: {}", error.message());
                cx.events.warning(set, "FailedDelete", text);
                failures.push(error);
            }
        }
    }
    first_of(failures, count)
}

/// The pods of all sets that share this set's controlling owner (a Deployment), or of it alone.
fn related<S: Set>(cx: &Cx, set: &S) -> Vec<Arc<Pod>> {
    let uid = |set: &S| set.meta().uid.clone().unwrap_or_default();
    let uids = match controller_of(set.meta()) {
        Some(owner) => {
            let siblings = S::store(&cx.informers).owned_by(&owner.uid);
            siblings.iter().map(|sibling| uid(sibling)).collect()
        }
        None => vec![uid(set)],
    };
    uids.iter().flat_map(|uid| cx.informers.pods.owned_by(uid)).collect()
}

fn first_of(failures: Vec<Error>, tried: usize) -> Result<(), Error> {
    let failed = failures.len();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Error::Batch { failed, tried, first: Box::new(first) }),
    }
}

/// The status that the claimed pods amount to; conditions as they were.
fn observed<S: Set>(set: &S, claimed: &[Arc<Pod>], now: Timestamp) -> ReplicaSetStatus {
    let template = set.template().metadata.and_then(|meta| meta.labels).unwrap_or_default();
    let has_labels = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    };
    let count = |condition: &dyn Fn(&Pod) -> bool| {
        number(claimed.iter().filter(|pod| pods::is_active(pod) && condition(pod)).count())
    };
    let terminating =
        claimed.iter().filter(|pod| is_terminating(&pod.metadata) && !pods::is_terminal(pod));
    let is_replica_set = S::LOG_NAME == ReplicaSet::LOG_NAME;
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: nonzero(count(&has_labels)),
        ready_replicas: nonzero(count(&pods::is_ready)),
        available_replicas: nonzero(count(&|pod| pods::is_available(pod, set.min_ready_s(), now))),
        terminating_replicas: is_replica_set.then(|| number(terminating.count())),
        observed_generation: set.meta().generation,
        conditions: set.status().conditions,
    }
}

/// Adds or takes away the `ReplicaFailure` condition.
fn note_failure(
    status: &mut ReplicaSetStatus,
    acted: &Result<(), Error>,
    was_deleting: bool,
    now: Time,
) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match acted {
        Ok(()) => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Err(error) if !known => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(if was_deleting { "FailedDelete" } else { "FailedCreate" }.to_owned()),
            message: Some(error.message()),
            last_transition_time: Some(now),
        }),
        Err(_) => {}
    }
    if conditions.is_empty() {
        status.conditions = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{at, object, pods};

    #[test]
    fn plan_closes_the_gap_in_bounded_steps() {
        let table = [
            (2, 0, false, Action::Create(2)),
            (2, 2, false, Action::None),
            (2, 5, false, Action::Delete(3)),
            (0, 1, false, Action::Delete(1)),
            (1_000, 0, false, Action::Create(500)),
            (0, 1_000, false, Action::Delete(500)),
            (2, 0, true, Action::None),
        ];
        for (wanted, active, terminating, expected) in table {
            assert_eq!(plan(wanted, active, terminating), expected, "{wanted} of {active}");
        }
    }

    /// replicas, fully labelled, ready, available, terminating
    fn check(min_ready_s: i32, sketch: &str, expected: [i32; 5]) {
        let set: ReplicaSet = object(
            json!({"metadata": {"name": "web", "generation": 3}, "spec": {
            "replicas": 3, "minReadySeconds": min_ready_s, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "pod-template-hash": "1"}}}}}),
        );
        let status = observed(&set, &pods(sketch), at(1_000_000));
        let got = [
            status.replicas,
            status.fully_labeled_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.terminating_replicas.unwrap(),
        ];
        assert_eq!(got, expected, "{sketch}");
        assert_eq!(status.observed_generation, Some(3));
    }

    #[test]
    fn status_counts_what_serves() {
        check(0, "", [0, 0, 0, 0, 0]);
        check(0, "a=1 b=1! c", [3, 2, 2, 2, 0]);
        check(0, "a=1 b=1- c=1:failed d=1:pending", [2, 2, 1, 1, 1]);
        check(60, "a=1~59 b=1~60", [2, 2, 2, 1, 0]);
    }

    #[test]
    fn failure_is_noted_once_and_taken_back() {
        let now = || Time(at(7));
        let mut status = ReplicaSetStatus::default();
        note_failure(&mut status, &Err(Error::TooLate("request")), false, now());
        let conditions = status.conditions.clone().unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
        note_failure(&mut status, &Err(Error::TooLate("request")), true, now());
        assert_eq!(status.conditions, Some(conditions));
        note_failure(&mut status, &Ok(()), false, now());
        assert_eq!(status.conditions, None);
    }
}
