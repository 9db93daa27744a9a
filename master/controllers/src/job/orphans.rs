//! Lets go of pods that nobody counts any more: their job is gone, or has finished, or let them go itself.
//!
//! Watches: `Pod`. Writes: `Pod`.
//!
//! A pod of a job carries a finalizer until it is counted. With its job deleted, or its owner taken from it, it would carry
//! that for ever.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use store_env::task::Group;

use super::look::is_tracked;
use super::{drop_finalizer, is_managed_elsewhere, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::Error;
use crate::owner::{controller_of, is_terminating, namespace_of};

/// Starts the part that looks at pods; that of jobs which are gone is with the jobs.
pub(super) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("job-controller", cx, group)
        .watches(&cx.informers.pods, suspects)
        .run(5, reconcile);
}

/// A pod that may have nobody left who counts it.
fn suspects(pod: &Pod) -> Vec<String> {
    let is_alone = controller_of(&pod.metadata).is_none() || is_terminating(&pod.metadata);
    (is_alone && is_tracked(pod)).then(|| key_of(pod)).into_iter().collect()
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    if let Some(pod) = cx.informers.pods.get(&key).filter(|pod| is_left(pod, &cx.informers.jobs)) {
        drop_finalizer(&cx, pod).await?;
    }
    Ok(Requeue::OnChange)
}

/// The pods of a job that is gone or has finished.
pub(super) fn of_job(pods: &Store<Pod>, jobs: &Store<Job>, namespace: &str) -> Vec<Arc<Pod>> {
    let mut pods = pods.list_in(namespace);
    pods.retain(|pod| is_left(pod, jobs));
    pods
}

/// Whether a pod carries the finalizer and nobody is to count it.
fn is_left(pod: &Pod, jobs: &Store<Job>) -> bool {
    if !is_tracked(pod) {
        return false;
    }
    let Some(owner) = controller_of(&pod.metadata) else { return true };
    if owner.kind != "Job" || owner.api_version != "batch/v1" {
        return false;
    }
    let job = jobs.get(&format!("{}/{}", namespace_of(&pod.metadata), owner.name));
    match job.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid)) {
        Some(job) if is_managed_elsewhere(&job) => false,
        Some(job) => job.status.as_ref().is_some_and(plan::is_finished),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::TRACKING;
    use crate::owner::name_of;
    use crate::testing::object;

    #[test]
    fn pods_that_nobody_counts_are_let_go() {
        let jobs: Store<Job> = Store::default();
        let job = |name: &str, spec: Value, kind: &str| -> Job {
            let mut spec = spec;
            spec["template"] = json!({});
            object(json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec,
                "status": {"conditions": [{"type": kind, "status": "True"}]}}))
        };
        let elsewhere = json!({"managedBy": "example.com/other"});
        let all = vec![
            job("runs", json!({"managedBy": "kubernetes.io/job-controller"}), "FailureTarget"),
            job("done", json!({}), "Complete"),
            job("failed", json!({}), "Failed"),
            job("elsewhere", elsewhere, "Complete"),
        ];
        jobs.replace(all, "1");
        let check = |owner: Value, finalizer: &str, expected: bool| {
            let pod: Pod = object(
                json!({"metadata": {"name": "p", "namespace": "ns", "finalizers": [finalizer],
                "ownerReferences": owner}}),
            );
            assert_eq!(is_left(&pod, &jobs), expected, "{owner} {finalizer}");
        };
        let owner = |name: &str, uid: &str, kind: &str, group: &str| json!([{"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": true}]);
        let by = |name: &str| owner(name, name, "Job", "batch/v1");
        check(by("gone"), TRACKING, true);
        check(by("gone"), "other", false);
        check(json!([]), TRACKING, true);
        check(by("runs"), TRACKING, false);
        check(owner("runs", "before", "Job", "batch/v1"), TRACKING, true);
        check(by("done"), TRACKING, true);
        check(by("failed"), TRACKING, true);
        check(by("elsewhere"), TRACKING, false);
        check(owner("gone", "gone", "ReplicaSet", "apps/v1"), TRACKING, false);
        check(owner("gone", "gone", "Job", "example.com/v1"), TRACKING, false);
    }

    #[test]
    fn only_pods_without_an_owner_or_on_their_way_out_are_suspect() {
        let pod = |rest: Value| -> Pod {
            let mut meta = json!({"name": "p", "namespace": "ns", "finalizers": [TRACKING]});
            meta.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            object(json!({"metadata": meta}))
        };
        let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]);
        let check = |rest: Value, expected: usize| {
            let pod = pod(rest);
            assert_eq!(suspects(&pod).len(), expected, "{}", name_of(&pod.metadata));
        };
        check(json!({}), 1);
        check(json!({"finalizers": []}), 0);
        check(json!({"ownerReferences": owner}), 0);
        check(json!({"ownerReferences": owner, "deletionTimestamp": "2026-01-01T00:00:00Z"}), 1);
    }
}
