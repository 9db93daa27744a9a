//! What a cron job needs done now: pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use master_api::cron::Schedule;

use super::{job_name, reference};
use crate::controller::Requeue;
use crate::owner::{is_terminating, name_of};

/// A job starts this long after its time, so that the time has surely come for whoever looks at a clock.
const SLACK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Note {
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// Without the job that is to be started.
    pub(super) status: CronJobStatus,
    pub(super) notes: Vec<Note>,
    /// Jobs that make room for the next one.
    pub(super) replace: Vec<Arc<Job>>,
    /// The time whose job is to be started.
    pub(super) run_at: Option<Timestamp>,
    /// Ended jobs beyond what is to be kept.
    pub(super) expired: Vec<Arc<Job>>,
    pub(super) requeue: Requeue,
}

/// How a job has ended: its condition's type, and when.
fn end(job: &Job) -> Option<(&str, Option<&Time>)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })?;
    let completed = job.status.as_ref()?.completion_time.as_ref();
    Some((&found.type_, completed.or(found.last_transition_time.as_ref())))
}

pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan {
        status: cron.status.clone().unwrap_or_default(),
        notes: Vec::new(),
        replace: Vec::new(),
        run_at: None,
        expired: Vec::new(),
        requeue: Requeue::OnChange,
    };
    let spec = cron.spec.clone();
    follow(&mut plan, jobs);
    plan.expired = expired(&spec, jobs);
    if !is_terminating(&cron.metadata) {
        next(&mut plan, cron, &spec, jobs, now);
    }
    plan
}

/// Takes over what has become of the jobs.
fn follow(plan: &mut Plan, jobs: &[Arc<Job>]) {
    let mut active = plan.status.active.take().unwrap_or_default();
    for job in jobs {
        let uid = job.metadata.uid.as_deref();
        let at = active.iter().position(|known| known.uid.as_deref() == uid);
        let name = name_of(&job.metadata);
        match (at, end(job)) {
            (None, None) => active.push(reference(job)),
            (Some(at), Some((condition, _))) => {
                active.remove(at);
                let message = format!("Saw completed job: {name}, condition: {condition}");
                plan.notes.push(Note { is_warning: false, reason: "SawCompletedJob", message });
            }
            _ => {}
        }
        if let Some(("Complete", Some(completed))) = end(job)
            && plan.status.last_successful_time.as_ref().is_none_or(|last| last.0 < completed.0)
        {
            plan.status.last_successful_time = Some(completed.clone());
        }
    }
    active.retain(|known| {
        let is_there = jobs.iter().any(|job| job.metadata.uid == known.uid);
        if !is_there {
            let name = known.name.as_deref().unwrap_or_default();
            let message = format!("Active job went missing: {name}");
            plan.notes.push(Note { is_warning: false, reason: "MissingJob", message });
        }
        is_there
    });
    plan.status.active = Some(active);
}

/// Ended jobs beyond the limits of the specification, the oldest first.
fn expired(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    let mut all = Vec::new();
    for (condition, limit) in limits {
        let Some(limit) = limit else { continue };
        let ended = |job: &&Arc<Job>| end(job).is_some_and(|(kind, _)| kind == condition);
        let mut ended: Vec<Arc<Job>> = jobs.iter().filter(ended).cloned().collect();
        let began = |job: &Arc<Job>| {
            let began = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            began.map(|time| time.0)
        };
        ended.sort_by_key(|job| (began(job), job.metadata.name.clone()));
        let kept = usize::try_from(limit).unwrap_or(0).min(ended.len());
        ended.truncate(ended.len() - kept);
        all.extend(ended);
    }
    all.retain(|job| !is_terminating(&job.metadata));
    all
}

/// Whether a job is due, and when to look again.
fn next(plan: &mut Plan, cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>], now: Timestamp) {
    let mut warn = |reason, message| plan.notes.push(Note { is_warning: true, reason, message });
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => {
                return warn(
                    "UnknownTimeZone",
                    format!("invalid timeZone: {name:?}: unknown time zone {name}"),
                );
            }
        },
    };
    if spec.suspend == Some(true) {
        return;
    }
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            let text = &spec.schedule;
            return warn(
                "UnparseableSchedule",
                format!("unparseable schedule: {text:?} : {error}"),
            );
        }
    };
    if let Some(upcoming) = schedule.next(now, &zone) {
        let wait = Duration::try_from(upcoming.duration_since(now)).unwrap_or_default();
        plan.requeue = Requeue::After(wait + SLACK);
    }
    let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let last = plan.status.last_schedule_time.as_ref().map(|time| time.0);
    let Some(at) = schedule.latest(last.unwrap_or(created), now, &zone) else { return };
    let name = job_name(cron, at);
    let is_known = jobs.iter().any(|job| name_of(&job.metadata) == name);
    let active = plan.status.active.as_deref().unwrap_or_default();
    if is_known || active.iter().any(|known| known.name.as_deref() == Some(&name)) {
        // It was started, but the status did not come to say so.
        plan.status.last_schedule_time = Some(Time(at));
        return;
    }
    let late_s = now.as_second() - at.as_second();
    if spec.starting_deadline_seconds.is_some_and(|deadline_s| late_s > deadline_s) {
        let shown = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let message = format!("Missed scheduled time to start a job: {shown}");
        return plan.notes.push(Note { is_warning: true, reason: "MissSchedule", message });
    }
    let running: Vec<Arc<Job>> = jobs.iter().filter(|job| end(job).is_none()).cloned().collect();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !running.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.notes.push(Note {
                is_warning: false,
                reason: "JobAlreadyActive",
                message: message.into(),
            });
        }
        Some("Replace") => {
            let gone =
                |uid: Option<&str>| running.iter().any(|job| job.metadata.uid.as_deref() == uid);
            if let Some(active) = &mut plan.status.active {
                active.retain(|known| !gone(known.uid.as_deref()));
            }
            plan.replace = running;
            plan.run_at = Some(at);
        }
        _ => plan.run_at = Some(at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-27T03:14:15Z";

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut full = json!({"schedule": "* * * * *", "jobTemplate": {}, "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-11-27T03:12:30Z"},
            "spec": full, "status": status,
        }))
        .unwrap()
    }

    fn job(name: &str, ended: &str, at: &str) -> Arc<Job> {
        let mut job = json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "status": {"startTime": at}});
        if !ended.is_empty() {
            job["status"]["conditions"] =
                json!([{"type": ended, "status": "True", "lastTransitionTime": at}]);
        }
        Arc::new(serde_json::from_value(job).unwrap())
    }

    fn planned(cron: &CronJob, jobs: &[Arc<Job>]) -> Plan {
        plan(cron, jobs, NOW.parse().unwrap())
    }

    fn started(plan: &Plan) -> String {
        plan.run_at.map_or_else(String::new, |at| at.to_string())
    }

    fn reasons(plan: &Plan) -> Vec<&str> {
        plan.notes.iter().map(|note| note.reason).collect()
    }

    #[test]
    fn the_last_missed_time_is_made_up_for() {
        let plan = planned(&cron(json!({}), json!({})), &[]);
        assert_eq!(started(&plan), "2026-11-27T03:14:00Z");
        assert_eq!(plan.requeue, Requeue::After(Duration::from_millis(45_100)));
        let done = cron(json!({}), json!({"lastScheduleTime": "2026-11-27T03:14:00Z"}));
        assert_eq!(started(&planned(&done, &[])), "");
    }

    #[test]
    fn a_time_starts_one_job_even_if_the_status_was_lost() {
        let minute = "2026-11-27T03:14:00Z".parse::<Timestamp>().unwrap().as_second() / 60;
        let there = job(&format!("c-{minute}"), "", NOW);
        let plan = planned(&cron(json!({}), json!({})), &[there]);
        assert_eq!(started(&plan), "");
        assert_eq!(plan.status.last_schedule_time.unwrap().0.to_string(), "2026-11-27T03:14:00Z");
        assert_eq!(plan.status.active.unwrap().len(), 1);
    }

    #[test]
    fn concurrency_is_allowed_forbidden_or_replaced() {
        let running = [job("old", "", "2026-11-27T03:13:00Z")];
        let with = |policy: &str| {
            planned(&cron(json!({"concurrencyPolicy": policy}), json!({})), &running)
        };
        assert_eq!(started(&with("Allow")), "2026-11-27T03:14:00Z");
        let forbids = with("Forbid");
        assert_eq!(
            (started(&forbids), reasons(&forbids)),
            (String::new(), vec!["JobAlreadyActive"])
        );
        let replaces = with("Replace");
        assert_eq!((started(&replaces).is_empty(), replaces.replace.len()), (false, 1));
        assert_eq!(replaces.status.active.unwrap().len(), 0);
    }

    #[test]
    fn what_is_suspended_late_or_wrong_does_not_start() {
        #[rustfmt::skip]
        let cases = [
            (json!({"suspend": true}),                   vec![]),
            (json!({"startingDeadlineSeconds": 5}),      vec!["MissSchedule"]),
            (json!({"startingDeadlineSeconds": 30}),     vec![]),
            (json!({"schedule": "nonsense"}),            vec!["UnparseableSchedule"]),
            (json!({"timeZone": "Mars/Olympus"}),        vec!["UnknownTimeZone"]),
        ];
        for (spec, expected) in cases {
            let starts = spec == json!({"startingDeadlineSeconds": 30});
            let plan = planned(&cron(spec.clone(), json!({})), &[]);
            assert_eq!((plan.run_at.is_some(), reasons(&plan)), (starts, expected), "{spec}");
        }
    }

    #[test]
    fn ended_jobs_leave_the_status_and_then_the_cluster() {
        let status = json!({"active": [{"uid": "b"}, {"uid": "lost", "name": "lost"}], "lastScheduleTime": "2026-11-27T03:14:00Z"});
        let jobs = [
            job("a", "Complete", "2026-11-27T03:12:00Z"),
            job("b", "Complete", "2026-11-27T03:13:00Z"),
            job("c", "Failed", "2026-11-27T03:13:00Z"),
        ];
        let plan = planned(&cron(json!({}), status), &jobs);
        assert_eq!(reasons(&plan), ["SawCompletedJob", "MissingJob"]);
        assert_eq!(plan.status.active.unwrap(), []);
        assert_eq!(plan.status.last_successful_time.unwrap().0.to_string(), "2026-11-27T03:13:00Z");
        let names: Vec<&str> = plan.expired.iter().map(|job| name_of(&job.metadata)).collect();
        assert_eq!(names, ["a"]);
    }
}
