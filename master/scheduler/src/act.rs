//! What the scheduler writes: bindings, the reason why a pod waits, and the removal of victims.
//!
//! Every request has a deadline. One that is not answered may have been done: the informer tells.

use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use master_client::pod::Pod;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::pod::PodInfo;

const DEADLINE: Duration = Duration::from_secs(30);

/// Why a write did not happen (or may not have).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {DEADLINE:?}")]
    TooLate,
}

impl Error {
    /// Whether the pod is gone.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 404)
    }
}

fn pods(client: &kube::Client, pod: &PodInfo) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.namespace())
}

/// Binds this very pod (by uid) to a node.
pub(crate) async fn bind(client: &kube::Client, pod: &PodInfo, node: &str) -> Result<(), Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let api = pods(client, pod);
    let params = PostParams::default();
    let request = api.create_subresource::<_, Value>("binding", pod.name(), &params, &binding);
    timeout(DEADLINE, request).await.map_err(|_| Error::TooLate)??;
    Ok(())
}

/// Says in the pod's status why it waits, and for which node if others leave it.
pub(crate) async fn report(
    client: &kube::Client,
    pod: &PodInfo,
    message: &str,
    nominated: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let mut status = json!({ "conditions": [waiting(pod, message, now)] });
    if nominated != pod.nominated.as_deref() {
        status["nominatedNodeName"] = json!(nominated);
    }
    let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
    let api = pods(client, pod);
    let params = PatchParams::default();
    let request = api.patch_status(pod.name(), &params, &patch);
    timeout(DEADLINE, request).await.map_err(|_| Error::TooLate)??;
    Ok(())
}

/// Why a pod waits, of which generation, and since when it does.
fn waiting(pod: &PodInfo, message: &str, now: Timestamp) -> Value {
    json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": transition(pod, "PodScheduled", "False", now),
        "observedGeneration": pod.pod.metadata.generation,
    })
}

/// When a condition became what it is: kept while it stays so.
fn transition(pod: &PodInfo, kind: &str, is: &str, now: Timestamp) -> String {
    let status = pod.pod.status.as_ref();
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut since = conditions.filter(|one| one.type_ == kind && one.status == is);
    let since = since.next().and_then(|condition| condition.last_transition_time.as_ref());
    master_api::time::seconds(since.map_or(now, |since| since.0))
}

/// Whether the pod's status says this already.
pub(crate) fn is_reported(pod: &PodInfo, message: &str, nominated: Option<&str>) -> bool {
    let status = pod.pod.status.as_ref();
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_said = conditions.any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.message.as_deref() == Some(message)
    });
    is_said && pod.nominated.as_deref() == nominated
}

/// Why a pod goes, of which generation, and since when it is to go.
fn disruption(victim: &PodInfo, now: Timestamp) -> Value {
    json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastTransitionTime": transition(victim, "DisruptionTarget", "True", now),
        "observedGeneration": victim.pod.metadata.generation,
    })
}

/// Sends a pod away for another, with its usual grace.
pub(crate) async fn evict(
    client: &kube::Client,
    victim: &PodInfo,
    now: Timestamp,
) -> Result<(), Error> {
    let api = pods(client, victim);
    let condition = json!({ "status": { "conditions": [disruption(victim, now)] } });
    let patch = Patch::Strategic(condition);
    let params = PatchParams::default();
    let marked = timeout(DEADLINE, api.patch_status(victim.name(), &params, &patch)).await;
    marked.map_err(|_| Error::TooLate)??;
    let preconditions =
        Preconditions { uid: Some(victim.uid().to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    timeout(DEADLINE, api.delete(victim.name(), &params)).await.map_err(|_| Error::TooLate)??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::info;

    #[test]
    fn conditions_say_of_which_generation_they_are_and_since_when() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let known = |kind: &str, is: &str| json!({"type": kind, "status": is, "lastTransitionTime": "1970-01-01T00:00:05Z"});
        let check = |condition: Value, waits_s: i64, goes_s: i64| {
            let pod = info(
                "p",
                "",
                json!({"metadata": {"generation": 3}, "status": {"conditions": [condition]}}),
            );
            for (said, since) in
                [(waiting(&pod, "m", at(9)), waits_s), (disruption(&pod, at(9)), goes_s)]
            {
                assert_eq!(said["observedGeneration"], 3);
                assert_eq!(
                    said["lastTransitionTime"],
                    master_api::time::seconds(at(since)),
                    "{said}"
                );
            }
        };
        check(known("Ready", "True"), 9, 9);
        check(known("PodScheduled", "False"), 5, 9);
        check(known("PodScheduled", "True"), 9, 9);
        check(known("DisruptionTarget", "True"), 9, 5);
        check(known("DisruptionTarget", "False"), 9, 9);
    }
}
