//! Runs a Job's pods until enough have succeeded, or too many have failed.
//!
//! Watches: `Job`; `Pod`, through its owner or by labels. Writes: `Pod`, the job's status; deletes jobs whose
//! time after finishing is over.
//!
//! # Invariants
//! - Every finished pod is counted once, even if it vanishes (`tally.rs`).
//! - What is said of a job (events) is said after its status was written, so once.
//! - A job that somebody else manages (`spec.managedBy`) is left alone, except that its time after finishing ends it.

mod backoff;
mod indexes;
mod look;
mod make;
mod manage;
mod orphans;
mod plan;
mod policy;
mod tally;
#[cfg(test)]
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use master_api::selector::LabelSelector;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use parking_lot::Mutex;
use serde_json::json;
use store_env::task::Group;

use self::backoff::Record;
use self::make::new_pod;
use self::manage::NewPod;
use self::plan::{Hands, Plan, condition, is_finished, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{
    claim_holding, controller_key, controller_of, is_terminating, name_of, namespace_of,
    selector_of, selects,
};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often an index had failed when a pod was made for it.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The failures before it that the job's policy ignores.
const FAILURES_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Who manages jobs that do not say who does.
const MANAGER: &str = "kubernetes.io/job-controller";
const WRITES_AT_ONCE: usize = 32;

/// The failures of jobs, by key, and of which job of that name they are; for as long as one leads.
type Records = Arc<Mutex<BTreeMap<String, (Option<String>, Record)>>>;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let (jobs, records) = (cx.informers.jobs.clone(), Records::default());
    Controller::new("job-controller", cx, group)
        .of(&cx.informers.jobs)
        .watches(&cx.informers.pods, move |pod| owners(&jobs, pod))
        .run(5, move |cx, key| reconcile(cx, records.clone(), key));
    orphans::start(cx, group);
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

/// Whether another controller looks after the job.
fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != MANAGER)
}

async fn reconcile(cx: Cx, records: Records, key: String) -> Result<Requeue, Error> {
    let job = cx.informers.jobs.get(&key);
    let is_over = |job: &Arc<Job>| job.status.as_ref().is_some_and(is_finished);
    let Some(job) = job.filter(|job| !is_over(job) || is_managed_elsewhere(job)) else {
        return after_the_end(&cx, &records, &key).await;
    };
    if is_managed_elsewhere(&job) {
        return expire(&cx, &job).await;
    }
    let Some(selector) = selector(&job) else { return Ok(Requeue::OnChange) };
    let uid = job.metadata.uid.clone();
    let known = records.lock().get(&key).filter(|(of, _)| *of == uid).map(|(_, record)| *record);
    let record = known.unwrap_or_default();
    let claim = || claim_holding(&cx, &*job, &selector, &cx.informers.pods, Some(TRACKING));
    let mut plan = plan(&job, &claim().await?, record, &cx.now_s(), Hands::Free);
    let acted = act(&cx, &job, &plan).await;
    if acted.is_err() {
        let pods = claim().await?;
        plan = plan::plan(&job, &pods, record, &cx.now_s(), Hands::Bound);
    }
    let Plan { status, record, delete, release, requeue, .. } = plan;
    // The status goes first: a finalizer may leave only what the status remembers, and what is said of it is said once.
    let mut current = (*job).clone();
    if current.status.as_ref() != Some(&status) {
        current.status = Some(status.clone());
        current = cx.replace_status(&current).await?;
        announce(&cx, &job, &status);
    }
    records.lock().insert(key, (uid, record));
    all(delete.into_iter().map(|pod| remove(&cx, &current, pod))).await?;
    all(release.into_iter().map(|pod| drop_finalizer(&cx, pod))).await?;
    acted.map(|()| requeue)
}

/// Makes and dismisses pods. What is made is made in groups, each twice as large as the one before: where one pod is refused, a
/// thousand would be.
async fn act(cx: &Cx, job: &Job, plan: &Plan) -> Result<(), Error> {
    let dismiss = plan.dismiss.iter().cloned().map(|pod| async move {
        drop_finalizer(cx, pod.clone()).await?;
        remove(cx, job, pod).await
    });
    all(dismiss).await?;
    let (mut rest, mut size) = (&*plan.create, 1);
    while !rest.is_empty() {
        let (group, later) = rest.split_at(size.min(rest.len()));
        all(group.iter().copied().map(|new| start_pod(cx, job, new))).await?;
        (rest, size) = (later, size * 2);
    }
    Ok(())
}

/// A job that is gone or has finished is forgotten, and goes when its time is over; its pods are let go by themselves.
async fn after_the_end(cx: &Cx, records: &Records, key: &str) -> Result<Requeue, Error> {
    records.lock().remove(key);
    match cx.informers.jobs.get(key) {
        Some(job) => expire(cx, &job).await,
        None => Ok(Requeue::OnChange),
    }
}

/// Deletes a finished job when its time is over, and its pods before it. Its time may have been changed, or another job may
/// have its name: that is asked of the store itself.
async fn expire(cx: &Cx, job: &Job) -> Result<Requeue, Error> {
    if let Some(left) = left_of(cx, job) {
        return Ok(left);
    }
    let Some(live) = cx.live(job).await? else { return Ok(Requeue::OnChange) };
    if let Some(left) = left_of(cx, &live) {
        return Ok(left);
    }
    cx.delete_last(&live).await.or_gone().map(|()| Requeue::OnChange)
}

/// When to look again whether the time of a job is over; `None` if it is.
fn left_of(cx: &Cx, job: &Job) -> Option<Requeue> {
    if is_terminating(&job.metadata) || !job.status.as_ref().is_some_and(is_finished) {
        return Some(Requeue::OnChange);
    }
    let plan = plan(job, &[], Record::default(), &cx.now_s(), Hands::Bound);
    (!plan.expired).then_some(plan.requeue)
}

async fn all(
    acts: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let acted: Vec<_> = stream::iter(acts).buffer_unordered(WRITES_AT_ONCE).collect().await;
    acted.into_iter().collect()
}

fn announce(cx: &Cx, job: &Job, status: &JobStatus) {
    let before = job.status.clone().unwrap_or_default();
    let begins =
        |kind: &str| condition(&before, kind).is_none() && condition(status, kind).is_some();
    if begins("Suspended") {
        cx.events.normal(job, "Suspended", "Job suspended");
    } else if condition(&before, "Suspended").is_some() && condition(status, "Suspended").is_none()
    {
        cx.events.normal(job, "Resumed", "Job resumed");
    }
    if begins("Complete") {
        let wanted = job.spec.as_ref().and_then(|spec| spec.completions);
        if wanted.is_some_and(|wanted| status.succeeded.unwrap_or(0) > wanted) {
            let text = "Too many succeeded pods running after completion count reached";
            cx.events.warning(job, "TooManySucceededPods", text);
        }
        cx.events.normal(job, "Completed", "Job completed");
    }
    if let Some(failed) = condition(status, "Failed").filter(|_| begins("Failed")) {
        let message = failed.message.clone().unwrap_or_default();
        cx.events.warning(job, failed.reason.as_deref().unwrap_or("Failed"), message);
    }
}

async fn drop_finalizer(cx: &Cx, pod: Arc<Pod>) -> Result<(), Error> {
    if !look::is_tracked(&pod) {
        return Ok(());
    }
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

async fn start_pod(cx: &Cx, job: &Job, new: NewPod) -> Result<(), Error> {
    match cx.create_pod(&new_pod(job, new)).await {
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
