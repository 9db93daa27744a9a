//! `batch/v1/cronjobs`.

use jiff::tz::TimeZone;
use master_api::cron::Schedule;
use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::jobs;
use crate::check;
use crate::fill::{absent, made, object, zero};
use crate::pod::{defaults, warnings};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, or, or_none, tabled};
use crate::workload;

#[derive(Clone, Copy, Debug)]
pub struct CronJobs;

/// A job's name is the cron job's with a time appended.
const NAME_BYTES_MAX: usize = 52;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Schedule", |object, _| or(object, &["spec", "schedule"], "")),
    Cell::text("Timezone", |object, _| or_none(object, &["spec", "timeZone"])),
    Cell::boolean("Suspend", |object, _| is_suspended(object).into()),
    Cell::integer("Active", |object, _| meta::items(object, &["status", "active"]).len().into()),
    Cell::text("Last Schedule", |object, now| {
        workload::since(object, &["status", "lastScheduleTime"], now, "<none>")
    }),
    Cell::AGE,
    Cell::text("Containers", |object, _| containers(object, "name").into()).wide(),
    Cell::text("Images", |object, _| containers(object, "image").into()).wide(),
    Cell::text("Selector", |_, _| "<none>".into()).wide(),
];

fn is_suspended(object: &Value) -> &'static str {
    if meta::is_true(object, &["spec", "suspend"]) { "True" } else { "False" }
}

fn containers(object: &Value, field: &str) -> String {
    let path = ["spec", "jobTemplate", "spec", "template", "spec", "containers"];
    workload::list(meta::items(object, &path), field)
}

impl Strategy for CronJobs {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object_value: &mut Value) {
        let Some(fields) = object_value.as_object_mut() else { return };
        let spec = made(fields, "spec");
        zero(spec, "concurrencyPolicy", "Allow");
        absent(spec, "suspend", false);
        absent(spec, "successfulJobsHistoryLimit", 3);
        absent(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = object(spec, "jobTemplate").and_then(|job| object(job, "spec")) {
            // Only the pods' part: the rest is filled in when a job is made of it.
            defaults::template(template);
            jobs::failure_policy(template);
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        let name = meta::name(new);
        if old.is_none() && name.len() > NAME_BYTES_MAX {
            let detail = format!("must be no more than {NAME_BYTES_MAX} characters");
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
        check::required(&new["spec"], "schedule", &path, &mut errors);
        let schedule = meta::text(new, &["spec", "schedule"]);
        let is_new = old.is_none_or(|old| old["spec"]["schedule"] != new["spec"]["schedule"]);
        if !schedule.is_empty() && is_new {
            let names_zone = schedule.contains("TZ");
            let detail = if names_zone {
                Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned())
            } else {
                Schedule::parse(schedule).err()
            };
            let wrong =
                detail.map(|detail| FieldError::invalid(path.child("schedule"), schedule, detail));
            errors.extend(wrong);
        }
        let zone = meta::text(new, &["spec", "timeZone"]);
        if meta::at(new, &["spec", "timeZone"]).is_some() {
            let is_known = zone != "Local" && TimeZone::get(zone).is_ok();
            let was_there = old.is_some_and(|old| meta::text(old, &["spec", "timeZone"]) == zone);
            if !is_known && !was_there {
                let detail = format!("unknown time zone {zone}");
                errors.push(FieldError::invalid(path.child("timeZone"), zone, detail));
            }
        }
        let policies = ["Allow", "Forbid", "Replace"];
        check::required_one_of(&new["spec"], "concurrencyPolicy", &path, &policies, &mut errors);
        let counts =
            ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        workload::counts(new, &counts, &mut errors);
        let job = &new["spec"]["jobTemplate"]["spec"];
        let path = path.child("jobTemplate").child("spec");
        jobs::validate_spec(job, &path, &mut errors);
        if let Some(found) = meta::at(job, &["selector"]) {
            let detail = "`selector` will be auto-generated";
            errors.push(FieldError::invalid(path.child("selector"), found.clone(), detail));
        }
        if job["manualSelector"] == true {
            let place = path.child("manualSelector");
            errors.push(FieldError::not_supported(place, true, &["nil", "false"]));
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["spec", "jobTemplate", "spec", "template"])
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn job_that_could_not_be_made_is_refused_with_its_schedule() {
        let found = |change: Value| -> Vec<String> {
            let mut job = json!({"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "x"}]}}});
            job.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let mut cron = json!({"metadata": {"name": "c"},
                "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}});
            CronJobs.default(&mut cron);
            let prefix = "spec.jobTemplate.spec.";
            let told = CronJobs.validate(&cron, None);
            told.iter().map(|error| error.to_string().replace(prefix, "")).collect()
        };
        let pattern = json!([{"type": "DisruptionTarget"}]);
        let rule = json!({"action": "Ignore", "onPodConditions": pattern});
        assert_eq!(found(json!({"podFailurePolicy": {"rules": [rule]}})), [""; 0]);
        #[rustfmt::skip]
        let cases = [
            (json!({"parallelism": -1}), "parallelism: Invalid value: -1: must be greater than or equal to 0"),
            (json!({"backoffLimitPerIndex": 1}), "backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
            (json!({"completionMode": "Indexed"}), "completions: Required value: when completion mode is Indexed"),
            (json!({"selector": {}}), "selector: Invalid value: {}: `selector` will be auto-generated"),
            (json!({"manualSelector": true}), "manualSelector: Unsupported value: true: supported values: \"nil\", \"false\""),
        ];
        for (change, expected) in cases {
            assert_eq!(found(change.clone()), [expected], "{change}");
        }
    }
}
