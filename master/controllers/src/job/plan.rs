//! How far a Job is, and which pods that takes. Pure.
//!
//! A job ends in two steps: it says how it is going to end (`FailureTarget`, `SuccessCriteriaMet`) and brings its pods
//! down; it says that it has (`Failed`, `Complete`) once they are gone and counted.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use master_client::pod::Pod;

use super::backoff::Record;
use super::look::Look;
use super::manage::{NewPod, manage};
use super::policy;
use super::tally::{Counted, End, Tally, count, some};
use crate::controller::Requeue;
use crate::pods;

/// What is to be done about a job. In this order: make and dismiss pods, write the status, bring pods down, let go.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// The failures up to now, once the status is written.
    pub(super) record: Record,
    pub(super) create: Vec<NewPod>,
    /// There are too many of them: they go, and are not counted.
    pub(super) dismiss: Vec<Arc<Pod>>,
    /// The job ends: they go, and are counted first.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Their finalizer is no longer needed.
    pub(super) release: Vec<Arc<Pod>>,
    /// The job itself is to be deleted.
    pub(super) expired: bool,
    pub(super) requeue: Requeue,
}

impl Plan {
    /// Looks again in this time at the latest.
    pub(super) fn look_again(&mut self, after: Duration) {
        self.requeue = match self.requeue {
            Requeue::After(sooner) if sooner < after => Requeue::After(sooner),
            _ => Requeue::After(after),
        };
    }
}

/// Whether pods may be made and deleted, or what there is only be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    Free,
    Bound,
}

/// How many pods there are, acts of the plan included.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) active: usize,
    pub(super) ready: usize,
    /// On their way out.
    pub(super) going: usize,
}

impl Present {
    /// Some of the active pods are deleted.
    pub(super) fn lose(&mut self, pods: &[Arc<Pod>]) {
        self.active -= pods.len();
        self.ready -= pods.iter().filter(|pod| pods::is_ready(pod)).count();
        self.going += pods.len();
    }
}

pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let mut all = status.conditions.iter().flatten();
    all.find(|condition| condition.type_ == kind && condition.status == "True")
}

pub(super) fn is_finished(status: &JobStatus) -> bool {
    condition(status, "Complete").is_some() || condition(status, "Failed").is_some()
}

/// The condition that says how a job is going to end, and the one that says that it has.
type Kinds = (&'static str, &'static str);
const FAILS: Kinds = ("FailureTarget", "Failed");
const SUCCEEDS: Kinds = ("SuccessCriteriaMet", "Complete");

struct Ending {
    kinds: Kinds,
    reason: String,
    text: String,
}

impl Ending {
    fn new(kinds: Kinds, reason: &str, text: impl Into<String>) -> Self {
        Self { kinds, reason: reason.to_owned(), text: text.into() }
    }
}

pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], record: Record, now: &Time, hands: Hands) -> Plan {
    let (spec, written) =
        (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
    let mut plan = Plan { status: written.clone(), record, ..Plan::default() };
    if is_finished(&written) {
        after_finish(&mut plan, &spec, now);
        return plan;
    }
    let look = Look::of((&spec, &written), job, pods, now.0);
    let tally = Tally::of(&look, record);
    let active = look.active();
    let mut present = Present {
        active: active.len(),
        ready: active.iter().filter(|pod| pods::is_ready(pod)).count(),
        going: look.going().count(),
    };
    if plan.status.start_time.is_none() && !look.is_suspended() {
        plan.status.start_time = Some(now.clone());
    }
    let mut ending = outcome(&look, &plan.status, &tally);
    match &ending {
        Some(_) if hands == Hands::Free => {
            present.lose(&active);
            plan.delete = active;
        }
        // What is to be brought down first cannot be.
        Some(_) if !active.is_empty() => ending = None,
        Some(_) => {}
        None => {
            let may_act = hands == Hands::Free && !look.is_going;
            if may_act {
                manage(&mut plan, &look, &tally, &active, &mut present);
            }
            if is_complete(&look, &tally, &present) {
                let text = "Reached expected number of succeeded pods";
                ending = Some(Ending::new(SUCCEEDS, "CompletionsReached", text));
            } else if may_act {
                pause(&mut plan.status, look.is_suspended(), now);
            }
        }
    }
    plan.record = tally.record;
    conclude(&mut plan, &look, &tally, &present, ending.as_ref(), now);
    if let Some(left) = deadline_left_s(&look, &plan.status).filter(|left| *left > 0) {
        plan.look_again(Duration::from_secs(left.unsigned_abs()));
    }
    plan
}

/// How the job ends, with reason and message, if it does. What was said once stays.
fn outcome(look: &Look<'_>, status: &JobStatus, tally: &Tally) -> Option<Ending> {
    for kinds in [SUCCEEDS, FAILS] {
        if let Some(said) = condition(status, kinds.0) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some(Ending::new(kinds, &text(&said.reason), text(&said.message)));
        }
    }
    if let Some(why) = policy::failure(look) {
        return Some(Ending::new(FAILS, "PodFailurePolicy", why));
    }
    if let Some((reason, text)) = failure(look, status, tally) {
        return Some(Ending::new(FAILS, reason, text));
    }
    let text = policy::success(look.spec, &tally.done)?;
    Some(Ending::new(SUCCEEDS, "SuccessPolicy", text))
}

/// Why the job has failed, if it has.
fn failure(
    look: &Look<'_>,
    status: &JobStatus,
    tally: &Tally,
) -> Option<(&'static str, &'static str)> {
    let limit = look.spec.backoff_limit.unwrap_or(6);
    if tally.failed > i64::from(limit) || has_restarted_too_often(look, limit) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline_left_s(look, status).is_some_and(|left| left <= 0) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    let broken = tally.broken_count();
    if look.index_limit().is_none() || broken == 0 {
        return None;
    }
    if look.spec.max_failed_indexes.is_some_and(|most| broken > i64::from(most)) {
        let text = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", text));
    }
    let is_over = broken + tally.done.count() >= i64::from(look.completions());
    is_over.then_some(("FailedIndexes", "Job has failed indexes"))
}

/// Whether containers that are started again in place have been, too often.
fn has_restarted_too_often(look: &Look<'_>, limit: i32) -> bool {
    let template = look.spec.template.spec.as_ref();
    if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = look.pods.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let statuses = running.filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        lists.into_iter().flatten().flatten()
    });
    let restarts: i32 = statuses.map(|container| container.restart_count).sum();
    restarts > 0 && restarts >= limit
}

fn deadline_left_s(look: &Look<'_>, status: &JobStatus) -> Option<i64> {
    let started = status.start_time.as_ref().filter(|_| !look.is_suspended())?;
    Some(look.spec.active_deadline_seconds? - (look.now.as_second() - started.0.as_second()))
}

fn is_complete(look: &Look<'_>, tally: &Tally, present: &Present) -> bool {
    let is_enough = match look.spec.completions {
        Some(completions) => tally.succeeded >= i64::from(completions),
        // Work that its pods agree on among themselves: one success, and nobody at it any more.
        None => tally.succeeded > 0,
    };
    is_enough && present.active == 0
}

/// A job is suspended, or goes on.
fn pause(status: &mut JobStatus, is_suspended: bool, now: &Time) {
    let was_suspended = condition(status, "Suspended").is_some();
    if is_suspended && !was_suspended {
        set(status, "Suspended", ("True", "JobSuspended", "Job suspended"), now);
        status.start_time = None;
    } else if !is_suspended && was_suspended {
        set(status, "Suspended", ("False", "JobResumed", "Job resumed"), now);
        status.start_time = Some(now.clone());
    }
}

/// Counts, and says how the job ends; that it has ended, once no pod is left and all are counted.
fn conclude(
    plan: &mut Plan,
    look: &Look<'_>,
    tally: &Tally,
    present: &Present,
    ending: Option<&Ending>,
    now: &Time,
) {
    let end = match ending.map(|ending| ending.kinds) {
        None => End::NotYet,
        Some(SUCCEEDS) => End::Good,
        Some(_) => End::Bad,
    };
    let status = &mut plan.status;
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.active = some(i64::from(number(present.active)));
    status.ready = Some(number(present.ready));
    status.terminating = Some(number(present.going));
    let Counted { release, is_full } = count(look, tally, end, status);
    plan.release = release;
    let Some(Ending { kinds: (target, last), reason, text }) = ending else { return };
    set(status, target, ("True", reason, text), now);
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let is_counted = uncounted.succeeded.is_none() && uncounted.failed.is_none();
    if present.going > 0 || is_full || !is_counted || !plan.release.is_empty() {
        return;
    }
    set(status, last, ("True", reason, text), now);
    if !(look.is_suspended() && look.spec.completions == Some(0)) {
        status.start_time.get_or_insert_with(|| now.clone());
    }
    if *last == "Complete" {
        status.completion_time = Some(now.clone());
    }
}

/// Says so, where it is not said yet.
fn set(status: &mut JobStatus, kind: &str, (is, reason, text): (&str, &str, &str), now: &Time) {
    let conditions = status.conditions.get_or_insert_default();
    let said = JobCondition {
        type_: kind.to_owned(),
        status: is.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(text.to_owned()),
        last_probe_time: Some(now.clone()),
        last_transition_time: Some(now.clone()),
    };
    match conditions.iter_mut().find(|known| known.type_ == kind) {
        Some(known)
            if (&*known.status, &known.reason, &known.message)
                == (is, &said.reason, &said.message) => {}
        Some(known) => *known = said,
        None => conditions.push(said),
    }
}

/// A finished job goes after its time.
fn after_finish(plan: &mut Plan, spec: &JobSpec, now: &Time) {
    let ended = condition(&plan.status, "Complete").or(condition(&plan.status, "Failed"));
    let ended = ended.and_then(|condition| condition.last_transition_time.as_ref());
    let (Some(ttl_s), Some(ended)) = (spec.ttl_seconds_after_finished, ended) else { return };
    let left_s = i64::from(ttl_s) - (now.0.as_second() - ended.0.as_second());
    match u64::try_from(left_s) {
        Ok(left_s) if left_s > 0 => plan.look_again(Duration::from_secs(left_s)),
        _ => plan.expired = true,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
