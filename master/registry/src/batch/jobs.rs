//! `batch/v1/jobs`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::selector::{self, LabelSelector};
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::{Map, Value, json};

use crate::check;
use crate::fill::{absent, made, object, objects, zero};
use crate::pod::{defaults, validate, warnings};
use crate::strategy::{Cx, Shape, Strategy, fresh};
use crate::table::{Cell, tabled};
use crate::workload::{self, CONTAINERS, IMAGES, SELECTOR};

#[derive(Clone, Copy, Debug)]
pub struct Jobs;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Status", |job, _| status(job).into()),
    Cell::text("Completions", |job, _| completions(job).into()),
    Cell::text("Duration", |job, now| duration(job, now).into()),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        let mut conditions = meta::items(job, &["status", "conditions"]).iter();
        conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if meta::is_terminating(job) {
        "Terminating"
    } else {
        let rest = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        rest.into_iter().find(|kind| has(kind)).unwrap_or("Running")
    }
}

fn completions(job: &Value) -> String {
    let number = |path: [&str; 2]| meta::number(job, &path);
    let succeeded = number(["status", "succeeded"]).unwrap_or_default();
    match (number(["spec", "completions"]), number(["spec", "parallelism"]).unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: Timestamp) -> String {
    let moment = |field: &str| time::parse(meta::text(job, &["status", field]));
    match (moment("startTime"), moment("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => time::human_duration(time::elapsed_s(start, end.unwrap_or(now))),
    }
}

/// Defaults of a job's specification, also within a cron job.
fn job_spec(spec: &mut Map<String, Value>) {
    defaults::template(spec);
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        absent(spec, "completions", 1);
    }
    absent(spec, "parallelism", 1);
    let retries = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    absent(spec, "backoffLimit", retries);
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    absent(spec, "manualSelector", false);
    let policy =
        if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    absent(spec, "podReplacementPolicy", policy);
    if let Some(policy) = object(spec, "podFailurePolicy") {
        for rule in objects(policy, "rules") {
            for condition in objects(rule, "onPodConditions") {
                zero(condition, "status", "True");
            }
        }
    }
}

/// Rules of a job's template, also within a cron job.
pub(crate) fn job_template(template: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    validate::template(template, path, errors);
    let policy = meta::text(template, &["spec", "restartPolicy"]);
    if !matches!(policy, "OnFailure" | "Never") {
        let path = path.child("spec").child("restartPolicy");
        errors.push(if matches!(policy, "" | "Always") {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            FieldError::required(path, detail)
        } else {
            FieldError::not_supported(path, policy, &["OnFailure", "Never"])
        });
    }
}

/// Whether a job is suspended and has no pods: whoever queues it may say where they go and what they get.
fn is_queued(job: &Value) -> bool {
    let conditions = meta::items(job, &["status", "conditions"]);
    let has_stopped =
        conditions.iter().any(|it| it["type"] == "Suspended" && it["status"] == "True");
    let has_started = meta::at(job, &["status", "startTime"]).is_some();
    let active = meta::number(job, &["status", "active"]).unwrap_or_default();
    job["spec"]["suspend"] == true && (!has_started || has_stopped) && active == 0
}

/// What of a queued job's template must stay.
fn queued_template(new: &Value, old: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let kept = |template: &Value| {
        let mut spec = template["spec"].clone();
        let Some(fields) = spec.as_object_mut() else { return spec };
        for directive in ["nodeSelector", "tolerations", "schedulingGates"] {
            fields.remove(directive);
        }
        let affinity = object(fields, "affinity");
        let is_empty = affinity.is_some_and(|affinity| {
            affinity.remove("nodeAffinity");
            affinity.is_empty()
        });
        if is_empty {
            fields.remove("affinity");
        }
        for list in ["containers", "initContainers"] {
            objects(fields, list).for_each(|container| drop(container.remove("resources")));
        }
        spec
    };
    let (is, was) = (&new["spec"]["template"], &old["spec"]["template"]);
    if !check::same(&kept(is), &kept(was)) {
        let shown = is["spec"].clone();
        errors.push(FieldError::invalid(path.child("spec"), shown, check::IMMUTABLE));
    }
}

impl Strategy for Jobs {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, job: &mut Value) {
        let Some(fields) = job.as_object_mut() else { return };
        job_spec(made(fields, "spec"));
    }

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        if new["spec"]["manualSelector"] != true {
            select_own_pods(new);
        }
        // A job without labels has those of its pods.
        if new["metadata"].get("labels").is_none()
            && let Some(labels) =
                meta::at(new, &["spec", "template", "metadata", "labels"]).cloned()
        {
            meta::set(new, "labels", labels);
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let counts = [
            "parallelism",
            "completions",
            "backoffLimit",
            "activeDeadlineSeconds",
            "ttlSecondsAfterFinished",
        ];
        workload::counts(new, &counts, &mut errors);
        let path = FieldPath::new("spec");
        match meta::at(new, &["spec", "selector"]) {
            None => errors.push(FieldError::required(path.child("selector"), "")),
            Some(found) => {
                errors.extend(selector::validate(found, &path.child("selector")));
                if let Ok(parsed) = LabelSelector::from_json(found) {
                    workload::matches(&parsed, new, &mut errors);
                }
            }
        }
        super::job_policies::validate(&new["spec"], &path, &mut errors);
        job_template(&new["spec"]["template"], &path.child("template"), &mut errors);
        if let Some(old) = old {
            let number = |field: &str| meta::number(new, &["spec", field]);
            let is_moved = number("completions") != meta::number(old, &["spec", "completions"]);
            if new["spec"]["completionMode"] != "Indexed" && is_moved {
                let shown = new["spec"]["completions"].clone();
                let path = path.child("completions");
                errors.push(FieldError::invalid(path, shown, check::IMMUTABLE));
            } else if let Some(wanted) = number("completions")
                && is_moved
                && number("parallelism") != Some(wanted)
            {
                let detail = "can only be modified in tandem with spec.parallelism";
                errors.push(FieldError::invalid(path.child("completions"), wanted, detail));
            }
            const KEPT: [&str; 7] = [
                "selector",
                "template",
                "completionMode",
                "podFailurePolicy",
                "backoffLimitPerIndex",
                "managedBy",
                "successPolicy",
            ];
            for field in KEPT {
                if field == "template" && is_queued(old) {
                    queued_template(new, old, &path.child("template"), &mut errors);
                    continue;
                }
                if !check::same(&new["spec"][field], &old["spec"][field]) {
                    let shown = new["spec"][field].clone();
                    errors.push(FieldError::invalid(path.child(field), shown, check::IMMUTABLE));
                }
            }
        }
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        super::job_status::validate(new, old)
    }

    fn fields(&self, job: &Value) -> BTreeMap<String, String> {
        let succeeded = meta::number(job, &["status", "succeeded"]).unwrap_or_default();
        [("status.successful".to_owned(), succeeded.to_string())].into()
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["spec", "template"])
    }

    tabled!(CELLS);
}

/// A job finds its pods by its own uid, unless it was told another way.
fn select_own_pods(job: &mut Value) {
    let (uid, name) = (meta::uid(job).to_owned(), meta::name(job).to_owned());
    if uid.is_empty() {
        return;
    }
    let labels = meta::object_mut(job, &["spec", "template", "metadata", "labels"]);
    for (key, value) in
        [(CONTROLLER_UID, &uid), (JOB_NAME, &name), ("controller-uid", &uid), ("job-name", &name)]
    {
        labels.insert(key.to_owned(), value.as_str().into());
    }
    let spec = meta::object_mut(job, &["spec"]);
    absent(spec, "selector", json!({"matchLabels": {}}));
    if let Some(selector) = object(spec, "selector") {
        made(selector, "matchLabels").insert(CONTROLLER_UID.to_owned(), uid.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_progress_and_duration() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let mut job = json!({"metadata": {"name": "j"}, "spec": {"completions": 2},
            "status": {"succeeded": 1, "startTime": "2026-01-01T00:00:30Z"}});
        assert_eq!(Jobs.row(&job, now)[..4], ["j", "Running", "1/2", "90s"]);
        job["status"]["conditions"] = json!([{"type": "Complete", "status": "True"}]);
        job["status"]["completionTime"] = "2026-01-01T00:01:00Z".into();
        assert_eq!(Jobs.row(&job, now)[..4], ["j", "Complete", "1/2", "30s"]);
    }

    #[test]
    fn a_job_selects_its_own_pods() {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec":
            {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
        Jobs.default(&mut job);
        select_own_pods(&mut job);
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {CONTROLLER_UID: "u"}}));
        assert_eq!(Jobs.validate(&job, None), []);
        job["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
        assert_eq!(
            Jobs.validate(&job, None)[0].to_string(),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        );
    }

    #[test]
    fn a_queued_job_may_be_sent_elsewhere_and_be_let_go() {
        let job = |change: Value| {
            let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"suspend": true, "template": {"spec":
                {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
            Jobs.default(&mut job);
            select_own_pods(&mut job);
            let spec = &mut job["spec"]["template"]["spec"];
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            job
        };
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]});
        let near = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}});
        let large = json!({"containers": [{"name": "c", "image": "x", "imagePullPolicy": "Always", "resources": {"limits": {"cpu": "2"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}]});
        let found = |new: &Value, old: &Value| -> Vec<String> {
            Jobs.validate(new, Some(old)).into_iter().map(|error| error.field).collect()
        };
        let plain = job(json!({}));
        let mut resumed = plain.clone();
        resumed["spec"]["suspend"] = false.into();
        assert_eq!(found(&resumed, &plain), [""; 0]);
        for change in [json!({"nodeSelector": {"a": "b"}}), near.clone(), large] {
            assert_eq!(found(&job(change.clone()), &plain), [""; 0], "{change}");
            assert_eq!(found(&plain, &job(change.clone())), [""; 0], "{change}");
            assert_eq!(found(&job(change.clone()), &resumed), ["spec.template"], "{change}");
        }
        let other = job(json!({"hostNetwork": true}));
        assert_eq!(found(&other, &plain), ["spec.template.spec"]);
    }
}
