//! Starts a Job each time a CronJob's schedule says so, and clears away jobs that have ended.
//!
//! Watches: `CronJob`; `Job`, through its owner. Writes: `Job`, the cron job's status.
//!
//! # Invariants
//! - One time of the schedule starts one job at most: the job is called after the time.
//! - Of times that were missed only the last is made up for.

mod plan;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ObjectMeta;
use store_env::task::Group;

use self::plan::{Note, Plan, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{controller_key, controller_of, is_terminating, name_of, reference_to};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("cronjob-controller", cx, group)
        .of(&cx.informers.cron_jobs)
        .watches(&cx.informers.jobs, |job| {
            controller_key(&job.metadata, "CronJob").into_iter().collect()
        })
        .run(5, reconcile);
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(cron) = cx.informers.cron_jobs.get(&key) else { return Ok(Requeue::OnChange) };
    let uid = cron.metadata.uid.as_deref().unwrap_or_default();
    let jobs = cx.informers.jobs.owned_by(uid);
    let Plan { mut status, notes, replace, run_at, expired, requeue } =
        plan(&cron, &jobs, cx.now());
    let say = |notes: Vec<Note>| {
        for Note { is_warning, reason, message } in notes {
            if is_warning {
                cx.events.warning(&*cron, reason, message);
            } else {
                cx.events.normal(&*cron, reason, message);
            }
        }
    };
    say(notes);
    for job in &replace {
        cx.delete(&**job).await.or_gone()?;
        let name = name_of(&job.metadata);
        cx.events.normal(&*cron, "SuccessfulDelete", format!("Deleted job {name}"));
    }
    if let Some(at) = run_at
        && !is_terminating(&cron.metadata)
        && let Some(job) = run(&cx, &cron, at).await?
    {
        status.active.get_or_insert_default().push(reference(&job));
        status.last_schedule_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
    }
    if status.active.as_ref().is_some_and(Vec::is_empty) {
        status.active = None;
    }
    if cron.status.clone().unwrap_or_default() != status {
        let mut new = (*cron).clone();
        new.status = Some(status);
        cx.replace_status(&new).await.or_gone()?;
    }
    for job in &expired {
        cx.delete(&**job).await.or_gone()?;
        let name = name_of(&job.metadata);
        cx.events.normal(&*cron, "SuccessfulDelete", format!("Deleted job {name}"));
    }
    Ok(requeue)
}

/// Creates the job of a time, or finds it, if an attempt before this one has made it.
async fn run(cx: &Cx, cron: &CronJob, at: Timestamp) -> Result<Option<Job>, Error> {
    let job = job_at(cron, at);
    let name = name_of(&job.metadata).to_owned();
    match cx.create(&job).await {
        Ok(job) => {
            cx.events.normal(cron, "SuccessfulCreate", format!("Created job {name}"));
            Ok(Some(job))
        }
        Err(error) if error.is_namespace_terminating() => Ok(None),
        Err(error) if error.is_already_exists() => {
            let there = cx.live(&job).await?;
            let uid = cron.metadata.uid.as_deref();
            let is_own = |job: &Job| {
                controller_of(&job.metadata).is_some_and(|owner| Some(owner.uid.as_str()) == uid)
            };
            Ok(there.filter(is_own))
        }
        Err(error) => {
            cx.events.warning(
                cron,
                "FailedCreate",
                format!("Error creating job: {}", error.message()),
            );
            Err(error)
        }
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        resource_version: job.metadata.resource_version.clone(),
        uid: job.metadata.uid.clone(),
        field_path: None,
    }
}

/// `NAME-MINUTE`, where the minute is counted from 1970 on.
fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", name_of(&cron.metadata), at.as_second().div_euclid(60))
}

fn job_at(cron: &CronJob, at: Timestamp) -> Job {
    let spec = cron.spec.clone();
    let template = spec.job_template;
    let meta = template.metadata.unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = meta.annotations.unwrap_or_default();
    let zone = spec.time_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
    let shown = at.to_zoned(zone.unwrap_or(jiff::tz::TimeZone::UTC));
    let shown = match shown.offset() {
        jiff::tz::Offset::UTC => shown.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => shown.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    };
    annotations.insert(SCHEDULED.to_owned(), shown);
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, at)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![reference_to(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
