//! `batch/v1/jobs`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::selector::{self, LabelSelector};
use master_api::status::FieldError;
use master_api::{meta, names, time};
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

/// Defaults of a job's specification.
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
    failure_policy(spec);
}

/// Defaults of a job's policy of failures, also within a cron job.
pub(super) fn failure_policy(spec: &mut Map<String, Value>) {
    if let Some(policy) = object(spec, "podFailurePolicy") {
        for rule in objects(policy, "rules") {
            for condition in objects(rule, "onPodConditions") {
                zero(condition, "status", "True");
            }
        }
    }
}

/// Rules of a job's specification, its selector apart; also within a cron job.
pub(super) fn validate_spec(spec: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    super::job_policies::validate(spec, path, errors);
    let template = path.child("template");
    validate::template(&spec["template"], &template, errors);
    let policy = meta::text(spec, &["template", "spec", "restartPolicy"]);
    let path = template.child("spec").child("restartPolicy");
    match policy {
        "" | "Always" => {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            errors.push(FieldError::required(path, detail));
        }
        "Never" => {}
        "OnFailure" if meta::at(spec, &["podFailurePolicy"]).is_some() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(path, policy, detail));
        }
        "OnFailure" => {}
        _ => errors.push(FieldError::not_supported(path, policy, &["OnFailure", "Never"])),
    }
}

/// What a job that finds its pods by its own uid must have for that.
fn own_pods(job: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if job["spec"]["manualSelector"] == true || meta::at(job, &["spec", "selector"]).is_none() {
        return;
    }
    let (uid, name) = (meta::uid(job), meta::name(job));
    if uid.is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let labels = |job: &Value| job["spec"]["template"]["metadata"]["labels"].clone();
    // A job from before there were labels with a prefix may do without.
    let had = |key: &str| old.is_none_or(|old| !labels(old)[key].is_null());
    let (found, is_new) = (labels(job), had(JOB_NAME) && had(CONTROLLER_UID));
    let mut expected = vec![("controller-uid", uid), ("job-name", name)];
    if is_new {
        expected.extend([(CONTROLLER_UID, uid), (JOB_NAME, name)]);
    }
    let path = FieldPath::new("spec.template.metadata.labels");
    for (key, value) in &expected {
        let detail = format!("must be '{value}'");
        match &found[*key] {
            Value::Null => errors.push(FieldError::required(path.key(key), detail)),
            is if is == value => {}
            _ => errors.push(FieldError::invalid(path.key(key), found.clone(), detail)),
        }
    }
    let expected: Map<String, Value> =
        expected.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let selector = &job["spec"]["selector"];
    if LabelSelector::from_json(selector).is_ok_and(|it| !it.matches(&Value::Object(expected))) {
        let detail = "`selector` not auto-generated";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
    }
}

/// The pods of an indexed job are hosts, named after the job and their index.
fn hosts(job: &Value, errors: &mut Vec<FieldError>) {
    let completions = meta::number(job, &["spec", "completions"]).unwrap_or_default();
    if job["spec"]["completionMode"] != "Indexed" || completions <= 0 {
        return;
    }
    let name = meta::name(job);
    let host = format!("{name}-{}", completions - 1);
    if !names::dns1123_label(&host).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {host}");
        errors.push(FieldError::invalid("metadata.name", name, detail));
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
        let path = FieldPath::new("spec");
        own_pods(new, old, &mut errors);
        validate_spec(&new["spec"], &path, &mut errors);
        match meta::at(new, &["spec", "selector"]) {
            None => errors.push(FieldError::required(path.child("selector"), "")),
            Some(found) => {
                errors.extend(selector::validate(found, &path.child("selector")));
                if let Ok(parsed) = LabelSelector::from_json(found) {
                    workload::matches(&parsed, new, &mut errors);
                }
            }
        }
        hosts(new, &mut errors);
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
        let mut found = Vec::new();
        let problems = names::dns1123_label(meta::name(new));
        if old.is_none() && !problems.is_empty() {
            found.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                problems.join(" ")
            ));
        }
        let number = |field: &str| meta::number(new, &["spec", field]).unwrap_or_default();
        let is_changed = old.is_none_or(|old| old["spec"] != new["spec"]);
        if new["spec"]["completionMode"] == "Indexed"
            && is_changed
            && number("completions") > 100_000
            && number("parallelism") > 10_000
        {
            found.push("spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".to_owned());
        }
        found.extend(warnings::of_template(new, old, &["spec", "template"]));
        found
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
        // Others than these are refused.
        absent(labels, key, value.as_str());
    }
    let spec = meta::object_mut(job, &["spec"]);
    absent(spec, "selector", json!({"matchLabels": {}}));
    if let Some(selector) = object(spec, "selector") {
        absent(made(selector, "matchLabels"), CONTROLLER_UID, uid);
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
    fn labels_that_are_not_its_own_are_refused() {
        let job = |spec: Value| {
            let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec":
                {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}});
            job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            Jobs.default(&mut job);
            if job["spec"]["manualSelector"] != true {
                select_own_pods(&mut job);
            }
            job
        };
        let found = |job: &Value, old: Option<&Value>| -> Vec<String> {
            Jobs.validate(job, old).iter().map(ToString::to_string).collect()
        };
        let mut other = job(json!({}));
        other["spec"]["template"]["metadata"]["labels"]["job-name"] = "other".into();
        let told = found(&other, None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("spec.template.metadata.labels[job-name]: Invalid value: "));
        assert!(told[0].ends_with(": must be 'j'"), "{told:?}");
        let mut selected = job(json!({}));
        selected["spec"]["selector"]["matchLabels"] = json!({"job-name": "j", "extra": "x"});
        let told = found(&selected, None);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].ends_with("`selector` not auto-generated"), "{told:?}");
        // One that was made before the labels with a prefix stays as it is.
        let mut before = job(json!({}));
        before["spec"]["template"]["metadata"]["labels"] =
            json!({"job-name": "j", "controller-uid": "u"});
        before["spec"]["selector"]["matchLabels"] = json!({"controller-uid": "u"});
        assert_eq!(found(&before, Some(&before)), [""; 0]);
        let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}});
        let mut manual = job(manual);
        manual["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
        assert_eq!(found(&manual, None), [""; 0]);
    }

    #[test]
    fn pods_of_an_index_must_be_nameable() {
        let name = "n".repeat(61);
        let mut job = json!({"metadata": {"name": name, "uid": "u"}, "spec": {"completionMode": "Indexed", "completions": 10,
            "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "x"}]}}}});
        Jobs.default(&mut job);
        select_own_pods(&mut job);
        assert_eq!(Jobs.validate(&job, None), []);
        job["spec"]["completions"] = 11.into();
        let told = Jobs.validate(&job, None);
        assert_eq!(
            told[0].detail,
            format!("will not able to create pod with invalid DNS label: {name}-10")
        );
        job["spec"]["completions"] = 10.into();
        job["spec"]["podFailurePolicy"] = json!({"rules": []});
        job["spec"]["podReplacementPolicy"] = "Failed".into();
        let told: Vec<String> = Jobs.validate(&job, None).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified"
            ]
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
