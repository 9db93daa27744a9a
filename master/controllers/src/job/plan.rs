//! How far a Job is, and which pods that takes. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::policy::{self, Verdict};
use super::{INDEX, TRACKING};
use crate::controller::Requeue;
use crate::owner::{annotation, is_terminating};
use crate::pods;

/// After the first failure, pods are made anew after 10 s; after each further one twice as late.
const BACKOFF_FIRST_S: i64 = 10;
const BACKOFF_MAX_S: i64 = 600;
const CREATES_MAX: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// One pod each; of an indexed job, with its index.
    pub(super) create: Vec<Option<i32>>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Their finalizer is no longer needed.
    pub(super) release: Vec<Arc<Pod>>,
    /// The job itself is to be deleted.
    pub(super) expired: bool,
    pub(super) requeue: Requeue,
}

pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let all = status.conditions.iter().flatten();
    all.into_iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_finished(status: &JobStatus) -> bool {
    condition(status, "Complete").is_some() || condition(status, "Failed").is_some()
}

fn tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn index_of(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok()
}

pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: &Time) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let mut plan = Plan { status, ..Plan::default() };
    count(&mut plan, &spec, pods);
    let active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    if is_finished(&plan.status) {
        after_finish(&mut plan, &spec, now);
        return plan;
    }
    if is_terminating(&job.metadata) {
        return plan;
    }
    let is_suspended = spec.suspend == Some(true);
    if plan.status.start_time.is_none() && !is_suspended {
        plan.status.start_time = Some(now.clone());
    }
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
    let going =
        pods.iter().filter(|p| is_terminating(&p.metadata) && !pods::is_terminal(p)).count();
    plan.status.ready = Some(number(ready));
    plan.status.terminating = Some(number(going));
    plan.status.active = Some(number(active.len())).filter(|active| *active > 0);
    if let Some((kinds, reason, text)) = outcome(&plan.status, &spec, &active, pods, now) {
        finish(&mut plan, &active, now, kinds, &reason, &text);
    } else if is_suspended {
        set(&mut plan.status, "Suspended", "JobSuspended", "Job suspended", now);
        plan.status.start_time = None;
        plan.delete = active;
    } else {
        resume(&mut plan.status, now);
        fill(&mut plan, &spec, pods, &active, now);
    }
    deadline(&mut plan, &spec, now);
    plan
}

/// The condition that says how a job is going to end, and the one that says that it has.
type Kinds = (&'static str, &'static str);
const FAILS: Kinds = ("FailureTarget", "Failed");
const SUCCEEDS: Kinds = ("SuccessCriteriaMet", "Complete");

/// How the job ends, with reason and message, if it does. What was said once stays.
fn outcome(
    status: &JobStatus,
    spec: &JobSpec,
    active: &[Arc<Pod>],
    pods: &[Arc<Pod>],
    now: &Time,
) -> Option<(Kinds, String, String)> {
    for kinds in [SUCCEEDS, FAILS] {
        if let Some(said) = condition(status, kinds.0) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some((kinds, text(&said.reason), text(&said.message)));
        }
    }
    if let Some(why) = policy::failure(spec, pods) {
        return Some((FAILS, "PodFailurePolicy".to_owned(), why));
    }
    if let Some((reason, text)) = failure(status, spec, active, now) {
        return Some((FAILS, reason.to_owned(), text.to_owned()));
    }
    if let Some(text) = policy::success(spec, status.completed_indexes.as_deref().unwrap_or("")) {
        return Some((SUCCEEDS, "SuccessPolicy".to_owned(), text));
    }
    let text = "Reached expected number of succeeded pods";
    is_complete(status, spec, active, pods)
        .then(|| (SUCCEEDS, "CompletionsReached".to_owned(), text.to_owned()))
}

/// The three steps of counting a finished pod.
fn count(plan: &mut Plan, spec: &JobSpec, pods: &[Arc<Pod>]) {
    let status = &mut plan.status;
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let carrying: BTreeSet<String> =
        pods.iter().filter(|pod| tracked(pod)).map(|pod| uid(pod)).collect();
    let settle = |list: &mut Option<Vec<String>>, total: &mut Option<i32>| {
        let known = list.take().unwrap_or_default();
        let (kept, settled): (Vec<String>, Vec<String>) =
            known.into_iter().partition(|uid| carrying.contains(uid));
        if !settled.is_empty() {
            *total = Some(total.unwrap_or(0) + number(settled.len()));
        }
        *list = Some(kept);
    };
    settle(&mut uncounted.succeeded, &mut status.succeeded);
    settle(&mut uncounted.failed, &mut status.failed);
    for pod in pods.iter().filter(|pod| tracked(pod)) {
        let (succeeded, failed) =
            (uncounted.succeeded.get_or_insert_default(), uncounted.failed.get_or_insert_default());
        let uid = uid(pod);
        let list = match pods::phase(pod) {
            "Succeeded" => succeeded,
            "Failed" if policy::judge(spec, pod) == Verdict::Ignored => {
                plan.release.push(pod.clone());
                continue;
            }
            "Failed" => failed,
            _ if is_terminating(&pod.metadata) && !policy::waits_for_the_end(spec) => failed,
            _ => continue,
        };
        if !list.contains(&uid) {
            list.push(uid);
            let indexes = status.completed_indexes.clone().unwrap_or_default();
            if let (Some(index), "Succeeded") = (index_of(pod), pods::phase(pod)) {
                let mut all = parse_indexes(&indexes);
                all.insert(index);
                // A job may have become smaller meanwhile.
                all.retain(|index| spec.completions.is_none_or(|completions| *index < completions));
                status.completed_indexes = Some(print_indexes(&all));
            }
        }
        plan.release.push(pod.clone());
    }
    let list = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    let uncounted = UncountedTerminatedPods {
        succeeded: list(uncounted.succeeded),
        failed: list(uncounted.failed),
    };
    let is_empty = uncounted == UncountedTerminatedPods::default();
    status.uncounted_terminated_pods = (!is_empty).then_some(uncounted);
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// (succeeded, failed), those included that are still to be counted.
fn totals(status: &JobStatus) -> (i32, i32) {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let len = |list: Option<Vec<String>>| number(list.map_or(0, |list| list.len()));
    (
        status.succeeded.unwrap_or(0) + len(uncounted.succeeded),
        status.failed.unwrap_or(0) + len(uncounted.failed),
    )
}

/// Why the job has failed, if it has.
fn failure(
    status: &JobStatus,
    spec: &JobSpec,
    active: &[Arc<Pod>],
    now: &Time,
) -> Option<(&'static str, &'static str)> {
    let restarts: i32 = active
        .iter()
        .filter(|pod| {
            pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure")
        })
        .flat_map(|pod| {
            pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
        })
        .map(|container| container.restart_count)
        .sum();
    let limit = spec.backoff_limit.unwrap_or(6);
    let (_, failed) = totals(status);
    if failed > limit || restarts > 0 && restarts >= limit {
        let text = "Job has reached the specified backoff limit";
        return Some(("BackoffLimitExceeded", text));
    }
    let left = deadline_left_s(status, spec, now);
    let text = "Job was active longer than specified deadline";
    left.is_some_and(|left| left <= 0).then_some(("DeadlineExceeded", text))
}

fn deadline_left_s(status: &JobStatus, spec: &JobSpec, now: &Time) -> Option<i64> {
    let started = status.start_time.as_ref()?;
    Some(spec.active_deadline_seconds? - (now.0.as_second() - started.0.as_second()))
}

fn is_complete(status: &JobStatus, spec: &JobSpec, active: &[Arc<Pod>], pods: &[Arc<Pod>]) -> bool {
    let (succeeded, _) = totals(status);
    match spec.completions {
        Some(completions) => succeeded >= completions,
        // Work that its pods agree on among themselves: one success, and nobody at it any more.
        None => succeeded > 0 && active.is_empty() && pods.iter().all(|pod| pods::is_terminal(pod)),
    }
}

/// Says how it ends; that it has ended, once no pod is left and all are counted.
fn finish(
    plan: &mut Plan,
    active: &[Arc<Pod>],
    now: &Time,
    (target, last): Kinds,
    reason: &str,
    text: &str,
) {
    set(&mut plan.status, target, reason, text, now);
    plan.delete = active.to_vec();
    let going = plan.status.terminating.unwrap_or(0);
    if active.is_empty() && going == 0 && plan.status.uncounted_terminated_pods.is_none() {
        set(&mut plan.status, last, reason, text, now);
        plan.status.start_time.get_or_insert_with(|| now.clone());
        if last == "Complete" {
            plan.status.completion_time = Some(now.clone());
        }
    }
}

fn set(status: &mut JobStatus, kind: &str, reason: &str, text: &str, now: &Time) {
    if condition(status, kind).is_some() {
        return;
    }
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(text.to_owned()),
        last_probe_time: Some(now.clone()),
        last_transition_time: Some(now.clone()),
    });
}

/// A job that was suspended goes on.
fn resume(status: &mut JobStatus, now: &Time) {
    for condition in status.conditions.iter_mut().flatten() {
        if condition.type_ == "Suspended" && condition.status == "True" {
            condition.status = "False".to_owned();
            condition.reason = Some("JobResumed".to_owned());
            condition.message = Some("Job resumed".to_owned());
            condition.last_transition_time = Some(now.clone());
        }
    }
}

/// As many pods as the job may have at a time.
fn fill(plan: &mut Plan, spec: &JobSpec, pods: &[Arc<Pod>], active: &[Arc<Pod>], now: &Time) {
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let (succeeded, failed) = totals(&plan.status);
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(usize::try_from(completions - succeeded).unwrap_or(0)),
        None if succeeded > 0 => active.len().min(parallelism),
        None => parallelism,
    };
    if active.len() > wanted {
        let mut sorted = pods::by_deletion_rank(active, active, now.0);
        sorted.truncate(active.len() - wanted);
        plan.delete = sorted;
        return;
    }
    let going: Vec<&Arc<Pod>> = match policy::waits_for_the_end(spec) {
        true => pods
            .iter()
            .filter(|pod| is_terminating(&pod.metadata) && !pods::is_terminal(pod))
            .collect(),
        false => Vec::new(),
    };
    let missing = wanted.saturating_sub(active.len() + going.len()).min(CREATES_MAX);
    if missing == 0 {
        return;
    }
    let wait_s = backoff_left_s(pods, failed, now);
    if wait_s > 0 {
        plan.requeue = Requeue::After(Duration::from_secs(wait_s.unsigned_abs()));
        return;
    }
    plan.create = if spec.completion_mode.as_deref() == Some("Indexed") {
        let mut taken = parse_indexes(plan.status.completed_indexes.as_deref().unwrap_or_default());
        taken.extend(active.iter().chain(going).filter_map(|pod| index_of(pod)));
        let all = 0..spec.completions.unwrap_or(0);
        all.filter(|index| !taken.contains(index)).take(missing).map(Some).collect()
    } else {
        vec![None; missing]
    };
}

/// How long to wait after the newest failure.
fn backoff_left_s(pods: &[Arc<Pod>], failed: i32, now: &Time) -> i64 {
    let ended = |pod: &Arc<Pod>| {
        let status = pod.status.as_ref()?;
        let ended = status.container_statuses.iter().flatten().filter_map(|container| {
            container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
        });
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        ended.max().or(made)
    };
    let failures = pods.iter().filter(|pod| pods::phase(pod) == "Failed");
    let Some(newest) = failures.filter_map(ended).max() else { return 0 };
    let doublings = u32::try_from(failed.clamp(1, 10) - 1).unwrap_or(0);
    let delay_s = (BACKOFF_FIRST_S << doublings).min(BACKOFF_MAX_S);
    delay_s - (now.0.as_second() - newest.as_second())
}

/// Looks again when the job's deadline comes.
fn deadline(plan: &mut Plan, spec: &JobSpec, now: &Time) {
    let left = deadline_left_s(&plan.status, spec, now).filter(|left| *left > 0);
    let Some(left) = left.map(|left| Duration::from_secs(left.unsigned_abs())) else { return };
    plan.requeue = match plan.requeue {
        Requeue::After(sooner) if sooner < left => Requeue::After(sooner),
        _ => Requeue::After(left),
    };
}

/// A finished job goes after its time.
fn after_finish(plan: &mut Plan, spec: &JobSpec, now: &Time) {
    plan.status.active = None;
    let ended = condition(&plan.status, "Complete").or(condition(&plan.status, "Failed"));
    let ended = ended.and_then(|condition| condition.last_transition_time.as_ref());
    let (Some(ttl_s), Some(ended)) = (spec.ttl_seconds_after_finished, ended) else { return };
    let left_s = i64::from(ttl_s) - (now.0.as_second() - ended.0.as_second());
    match u64::try_from(left_s) {
        Ok(left_s) if left_s > 0 => plan.requeue = Requeue::After(Duration::from_secs(left_s)),
        _ => plan.expired = true,
    }
}

/// `0-2,5`
pub(super) fn parse_indexes(text: &str) -> BTreeSet<i32> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<i32>().ok()?..=to.parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

fn print_indexes(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == index => *to = index,
            _ => ranges.push((index, index)),
        }
    }
    let print = |(from, to): (i32, i32)| match to - from {
        0 => from.to_string(),
        1 => format!("{from},{to}"),
        _ => format!("{from}-{to}"),
    };
    ranges.into_iter().map(print).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
