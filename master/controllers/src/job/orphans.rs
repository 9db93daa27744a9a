//! Lets go of pods that nobody counts any more: their job is gone, or has finished, or let them go itself.
//!
//! Watches: `Pod`; `Job`, for its pods. Writes: `Pod`.
//!
//! A pod of a job carries a finalizer until it is counted. With its job deleted, or its owner taken from it, it would carry
//! that for ever.
//!
//! # Invariants
//! - A change of a job costs a look at its own pods, one of a pod a look at its own job: a namespace may have thousands of
//!   both.

use k8s_openapi::api::batch::v1::Job;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use store_env::task::Group;

use super::look::is_tracked;
use super::{drop_finalizer, is_managed_elsewhere, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::Error;
use crate::owner::{controller_of, namespace_of};

/// Starts it.
pub(super) fn start(cx: &Cx, group: &mut Group) {
    let (pods, jobs) = (cx.informers.pods.clone(), cx.informers.jobs.clone());
    let of_pod = move |pod: &Pod| is_left(pod, &jobs).then(|| key_of(pod)).into_iter().collect();
    let jobs = cx.informers.jobs.clone();
    Controller::new("job-controller", cx, group)
        .watches(&cx.informers.pods, of_pod)
        .watches(&cx.informers.jobs, move |job| of_job(&pods, &jobs, job))
        .run(5, reconcile);
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    if let Some(pod) = cx.informers.pods.get(&key).filter(|pod| is_left(pod, &cx.informers.jobs)) {
        drop_finalizer(&cx, pod).await?;
    }
    Ok(Requeue::OnChange)
}

/// The pods of a job that is gone or has finished.
fn of_job(pods: &Store<Pod>, jobs: &Store<Job>, job: &Job) -> Vec<String> {
    let known = jobs.get(&key_of(job)).filter(|known| known.metadata.uid == job.metadata.uid);
    if known.is_some_and(|known| !known.status.as_ref().is_some_and(plan::is_finished)) {
        return Vec::new(); // it counts them
    }
    let own = pods.owned_by(job.metadata.uid.as_deref().unwrap_or_default());
    own.iter().filter(|pod| is_left(pod, jobs)).map(|pod| key_of(&**pod)).collect()
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
    fn change_of_a_job_concerns_its_own_pods_only() {
        let (pods, jobs): (Store<Pod>, Store<Job>) = Default::default();
        let job = |uid: &str, kind: &str| -> Job {
            object(
                json!({"metadata": {"name": "j", "namespace": "ns", "uid": uid}, "spec": {"template": {}},
                "status": {"conditions": [{"type": kind, "status": "True"}]}}),
            )
        };
        let pod = |name: &str, uid: &str, finalizers: Value| -> Pod {
            let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid, "controller": true}]);
            object(json!({"metadata": {"name": name, "namespace": "ns", "finalizers": finalizers,
                "ownerReferences": owner}}))
        };
        let all = vec![
            pod("a", "1", json!([TRACKING])),
            pod("b", "1", json!([])),
            pod("c", "0", json!([TRACKING])),
        ];
        pods.replace(all, "1");
        let check = |job: &Job, expected: &[&str]| {
            assert_eq!(of_job(&pods, &jobs, job), expected, "{job:?}");
        };
        check(&job("1", "Complete"), &["ns/a"]); // It is gone.
        jobs.replace(vec![job("1", "Suspended")], "2");
        check(&job("1", "Suspended"), &[]);
        check(&job("0", "Suspended"), &["ns/c"]);
        jobs.replace(vec![job("1", "Complete")], "3");
        check(&job("1", "Complete"), &["ns/a"]);
    }
}
