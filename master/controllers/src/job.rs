//! Runs a Job's pods until enough have succeeded, or too many have failed.
//!
//! Watches: `Job`; `Pod`, through its owner or by labels. Writes: `Pod`, the job's status; deletes jobs whose
//! time after finishing is over.
//!
//! # Invariants
//! - Every finished pod is counted once, even if it vanishes: it carries a finalizer until the
//!   status remembers it (first as "uncounted", by uid; then, with the finalizer gone, as a number).

mod plan;
mod policy;

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use master_api::selector::LabelSelector;
use master_client::informer::{Store, key_of};
use serde_json::json;
use store_env::task::Group;

use self::plan::{Plan, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{
    claim_holding, controller_key, controller_of, is_terminating, name_of, namespace_of,
    selector_of, selects,
};
use crate::pods;

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
const WRITES_AT_ONCE: usize = 32;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let jobs = cx.informers.jobs.clone();
    Controller::new("job-controller", cx, group)
        .of(&cx.informers.jobs)
        .watches(&cx.informers.pods, move |pod| owners(&jobs, pod))
        .run(5, reconcile);
}

/// The job that controls the pod; for an orphan, every job that would take it.
fn owners(jobs: &Store<Job>, pod: &Pod) -> Vec<String> {
    if controller_of(&pod.metadata).is_some() {
        return controller_key(&pod.metadata, "Job").into_iter().collect();
    }
    if is_terminating(&pod.metadata) {
        return Vec::new();
    }
    let all = jobs.list_in(namespace_of(&pod.metadata));
    let wants = |job: &Arc<Job>| selector(job).is_some_and(|it| selects(&it, &pod.metadata));
    all.into_iter().filter(wants).map(|job| key_of(&*job)).collect()
}

fn selector(job: &Job) -> Option<LabelSelector> {
    selector_of(job.spec.as_ref()?.selector.as_ref())
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(job) = cx.informers.jobs.get(&key) else {
        let left = orphans(cx.informers.pods.list(), &key);
        return all(left.map(|pod| drop_finalizer(&cx, pod))).await.map(|()| Requeue::OnChange);
    };
    let Some(selector) = selector(&job) else { return Ok(Requeue::OnChange) };
    let pods = claim_holding(&cx, &*job, &selector, &cx.informers.pods, Some(TRACKING)).await?;
    let Plan { status, create, delete, release, expired, requeue } = plan(&job, &pods, &cx.now_s());
    if expired {
        return cx.delete(&*job).await.or_gone().map(|()| Requeue::OnChange);
    }
    announce(&cx, &job, &status);
    // The status goes first: a finalizer may leave only what the status remembers.
    let mut current = (*job).clone();
    if current.status.as_ref() != Some(&status) {
        current.status = Some(status);
        current = cx.replace_status(&current).await?;
    }
    let releases = release.into_iter().map(|pod| drop_finalizer(&cx, pod));
    all(releases).await?;
    let deletes = delete.into_iter().map(|pod| remove(&cx, &current, pod));
    all(deletes).await?;
    let creates = create.into_iter().map(|index| start_pod(&cx, &current, index));
    all(creates).await?;
    Ok(requeue)
}

/// Pods that go after their job: nobody counts them any more, and their finalizer would hold them for ever.
fn orphans(pods: Vec<Arc<Pod>>, key: &str) -> impl Iterator<Item = Arc<Pod>> {
    let is_left = move |pod: &Arc<Pod>| {
        let mut finalizers = pod.metadata.finalizers.iter().flatten();
        is_terminating(&pod.metadata)
            && finalizers.any(|finalizer| finalizer == TRACKING)
            && controller_key(&pod.metadata, "Job").is_some_and(|owner| *owner == *key)
    };
    pods.into_iter().filter(is_left)
}

async fn all(
    acts: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let acted: Vec<_> = stream::iter(acts).buffer_unordered(WRITES_AT_ONCE).collect().await;
    acted.into_iter().collect()
}

fn announce(cx: &Cx, job: &Job, status: &k8s_openapi::api::batch::v1::JobStatus) {
    let before = job.status.clone().unwrap_or_default();
    for (kind, is_good) in [("Complete", true), ("Failed", false), ("Suspended", true)] {
        if let Some(condition) = plan::condition(status, kind)
            && plan::condition(&before, kind).is_none()
        {
            let message = condition.message.clone().unwrap_or_default();
            let reason = condition.reason.as_deref();
            match kind {
                "Complete" => cx.events.normal(job, "Completed", "Job completed"),
                _ if is_good => cx.events.normal(job, kind, message),
                _ => cx.events.warning(job, reason.unwrap_or(kind), message),
            }
        }
    }
}

async fn drop_finalizer(cx: &Cx, pod: Arc<Pod>) -> Result<(), Error> {
    let mut finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != TRACKING);
    let patch = json!({"metadata": {"uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version, "finalizers": finalizers}});
    cx.merge(&*pod, "", patch).await.or_gone()
}

async fn remove(cx: &Cx, job: &Job, pod: Arc<Pod>) -> Result<(), Error> {
    cx.delete(&*pod).await.or_gone()?;
    let name = name_of(&pod.metadata);
    cx.events.normal(job, "SuccessfulDelete", format!("Deleted pod: {name}"));
    Ok(())
}

async fn start_pod(cx: &Cx, job: &Job, index: Option<i32>) -> Result<(), Error> {
    match cx.create(&new_pod(job, index)).await {
        Ok(pod) => {
            let name = name_of(&pod.metadata);
            cx.events.normal(job, "SuccessfulCreate", format!("Created pod: {name}"));
            Ok(())
        }
        Err(error) if error.is_namespace_terminating() => Ok(()),
        Err(error) => {
            let text = format!("Error creating: {}", error.message());
            cx.events.warning(job, "FailedCreate", text);
            Err(error)
        }
    }
}

fn new_pod(job: &Job, index: Option<i32>) -> Pod {
    let template = job.spec.clone().unwrap_or_default().template;
    let mut pod = pods::from_template(job, &template);
    let name = name_of(&job.metadata);
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let labels = pod.metadata.labels.get_or_insert_default();
    for (key, value) in [("job-name", name), ("controller-uid", uid.as_str())] {
        labels.insert(key.to_owned(), value.to_owned());
        labels.insert(format!("batch.kubernetes.io/{key}"), value.to_owned());
    }
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    let Some(index) = index else { return pod };
    labels.insert(INDEX.to_owned(), index.to_string());
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    let spec = pod.spec.get_or_insert_default();
    spec.hostname.get_or_insert_with(|| format!("{name}-{index}"));
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        let variables = container.env.get_or_insert_default();
        if !variables.iter().any(|variable| variable.name == INDEX_ENV) {
            let value = Some(index.to_string());
            variables.push(EnvVar { name: INDEX_ENV.to_owned(), value, value_from: None });
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn pods_of_a_job_that_is_gone_are_let_go() {
        let pod = |name: &str, owner: &str, finalizer: &str| -> Arc<Pod> {
            Arc::new(object(
                json!({"metadata": {"name": name, "namespace": "ns", "finalizers": [finalizer],
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": "u", "controller": true}]}}),
            ))
        };
        let pods =
            vec![pod("a", "gone", TRACKING), pod("b", "gone", "other"), pod("c", "here", TRACKING)];
        let left: Vec<Arc<Pod>> = orphans(pods, "ns/gone").collect();
        assert_eq!(left.iter().map(|pod| name_of(&pod.metadata)).collect::<Vec<_>>(), ["a"]);
    }
}
