//! What the status of a job must be like: what it counts fits together, and a finished job has all that finishing takes.
//!
//! What was wrong before is not held against a write that leaves it alone.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::Value;

use super::job_policies::count_indexes;
use crate::check::Findings;
use crate::workload::status_counts;

/// A job and its status.
#[derive(Clone, Copy)]
struct Job<'a>(&'a Value);

impl<'a> Job<'a> {
    fn at(self, field: &str) -> Option<&'a Value> {
        meta::at(self.0, &["status", field])
    }

    fn number(self, field: &str) -> i64 {
        self.at(field).and_then(Value::as_i64).unwrap_or_default()
    }

    fn is(self, condition: &str) -> bool {
        let mut conditions = meta::items(self.0, &["status", "conditions"]).iter();
        conditions.any(|it| it["type"] == condition && it["status"] == "True")
    }

    fn is_finished(self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn uncounted(self, how: &str) -> &'a [Value] {
        meta::items(self.0, &["status", "uncountedTerminatedPods", how])
    }
}

/// What is wrong with a written status.
pub(super) fn validate(new: &Value, old: &Value) -> Findings {
    let mut errors = status_counts(new, &["active", "succeeded", "failed", "ready", "terminating"]);
    let (new, old) = (Job(new), Job(old));
    let path = FieldPath::new("status");
    uncounted(new, &path.child("uncountedTerminatedPods"), &mut errors);
    contradictions(new, old, &path, &mut errors);
    times(new, old, &path, &mut errors);
    ends(new, old, &path, &mut errors);
    indexes(new, old, &path, &mut errors);
    if new.at("ready") != old.at("ready") && new.number("ready") > new.number("active") {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(path.child("ready"), new.number("ready"), detail));
    }
    for field in ["succeeded", "failed"] {
        if new.number(field) < old.number(field) {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(path.child(field), new.number(field), detail));
        }
    }
    errors
}

fn uncounted(job: Job<'_>, path: &FieldPath, errors: &mut Findings) {
    let mut seen = BTreeSet::new();
    for how in ["succeeded", "failed"] {
        for (at, pod) in job.uncounted(how).iter().enumerate() {
            let place = path.child(how).index(at);
            if pod == "" {
                errors.push(FieldError::invalid(place, "", "must not be empty"));
            } else if !seen.insert(pod.to_string()) {
                errors.push(FieldError::duplicate(place, pod.clone()));
            }
        }
    }
}

fn contradictions(new: Job<'_>, old: Job<'_>, path: &FieldPath, errors: &mut Findings) {
    let mut say = |detail: &str| {
        errors.push(FieldError::invalid(path.child("conditions"), "", detail).without_value());
    };
    let becomes = |condition: &str| new.is(condition) && !old.is(condition);
    let both =
        |one: &str, other: &str| new.is(one) && new.is(other) && (becomes(one) || becomes(other));
    if both("Complete", "Failed") {
        say("cannot set Complete=True and Failed=true conditions");
    }
    if both("Complete", "FailureTarget") {
        say("cannot set Complete=True and FailureTarget=true conditions");
    }
    if becomes("Failed") && !new.is("FailureTarget") {
        say("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if becomes("Complete") && !new.is("SuccessCriteriaMet") {
        say("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if both("SuccessCriteriaMet", "FailureTarget") {
        say("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if both("SuccessCriteriaMet", "Failed") {
        say("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
}

fn times(new: Job<'_>, old: Job<'_>, path: &FieldPath, errors: &mut Findings) {
    let place = path.child("completionTime");
    let (start, end) = (new.at("startTime"), new.at("completionTime"));
    let is_touched = end != old.at("completionTime") || new.is("Complete") != old.is("Complete");
    match end {
        Some(end) if is_touched && !new.is("Complete") => {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(place.clone(), end.clone(), detail));
        }
        None if is_touched && new.is("Complete") => {
            let detail = "completionTime is required for Complete jobs";
            errors.push(FieldError::required(place.clone(), detail));
        }
        _ => {}
    }
    let moment = |value: Option<&Value>| value.and_then(Value::as_str).and_then(time::parse);
    if let (Some(from), Some(to)) = (moment(start), moment(end))
        && to < from
        && (is_touched || start != old.at("startTime"))
    {
        let detail = "must be equal to or after `startTime`";
        let shown = end.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(place, shown, detail));
    }
}

/// What a job that ends has, and has not.
fn ends(new: Job<'_>, old: Job<'_>, path: &FieldPath, errors: &mut Findings) {
    if !new.is_finished() {
        return;
    }
    let ends_now = !old.is_finished();
    for field in ["active", "terminating"] {
        let is_touched = ends_now || new.at(field) != old.at(field);
        if is_touched && new.number(field) > 0 {
            let detail = format!("{field}>0 is invalid for finished job");
            errors.push(FieldError::invalid(path.child(field), new.number(field), detail));
        }
    }
    if new.at("startTime").is_none() && (ends_now || old.at("startTime").is_some()) {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required(path.child("startTime"), detail));
    }
    let is_left = ["succeeded", "failed"].iter().any(|how| !new.uncounted(how).is_empty());
    if ends_now && is_left {
        let shown = new.at("uncountedTerminatedPods").cloned().unwrap_or_default();
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.push(FieldError::invalid(path.child("uncountedTerminatedPods"), shown, detail));
    }
}

fn indexes(new: Job<'_>, old: Job<'_>, path: &FieldPath, errors: &mut Findings) {
    let spec = |field: &str| meta::at(new.0, &["spec", field]);
    let is_indexed = spec("completionMode").is_some_and(|mode| mode == "Indexed");
    let completions = spec("completions").and_then(Value::as_i64);
    let text = |field: &str| new.at(field).and_then(Value::as_str).unwrap_or_default();
    for field in ["completedIndexes", "failedIndexes"] {
        if new.at(field) == old.at(field) {
            continue;
        }
        let counted = completions.map(|completions| count_indexes(text(field), completions));
        if let Some(Err(problem)) = counted {
            let detail = format!("error parsing {field}: {problem}");
            errors.push(FieldError::invalid(path.child(field), text(field), detail));
        }
    }
    let completed = text("completedIndexes");
    if !is_indexed
        && !completed.is_empty()
        && new.at("completedIndexes") != old.at("completedIndexes")
    {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(path.child("completedIndexes"), completed, detail));
    }
    if new.at("failedIndexes").is_some() && spec("backoffLimitPerIndex").is_none() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        let place = path.child("failedIndexes");
        errors.push(FieldError::invalid(place, text("failedIndexes"), detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn statuses_are_refused_as_upstream_refuses_them() {
        let start = "2026-01-01T00:00:00Z";
        let job = |status: Value| json!({"spec": {"completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 1}, "status": status});
        let holds = |kinds: &[&str]| -> Vec<Value> {
            kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
        };
        let found = |new: Value, old: Value| -> Vec<String> {
            let found = validate(&job(new), &job(old));
            found.iter().map(|error| error.to_string().replace("status.", "")).collect()
        };
        let done = json!({"startTime": start, "completionTime": start, "succeeded": 1, "conditions": holds(&["SuccessCriteriaMet", "Complete"])});
        let failed = json!({"startTime": start, "failed": 1, "conditions": holds(&["FailureTarget", "Failed"])});
        for fine in [
            json!({"active": 2, "ready": 1}),
            done.clone(),
            failed,
            json!({"completedIndexes": "0-2,4", "failedIndexes": "3"}),
        ] {
            assert_eq!(found(fine.clone(), json!({})), [""; 0], "{fine}");
        }
        #[rustfmt::skip]
        let cases = [
            (json!({"active": -1}), vec!["active: Invalid value: -1: must be greater than or equal to 0"]),
            (json!({"active": 1, "ready": 2}), vec!["ready: Invalid value: 2: cannot set more ready pods than active"]),
            (json!({"uncountedTerminatedPods": {"succeeded": ["a", "a"]}}), vec!["uncountedTerminatedPods.succeeded[1]: Duplicate value: \"a\""]),
            (json!({"completionTime": start}), vec!["completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition"]),
            (json!({"completedIndexes": "5"}), vec!["completedIndexes: Invalid value: \"5\": error parsing completedIndexes: too large index: \"5\""]),
            (json!({"conditions": holds(&["Complete"])}), vec![
                "conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "completionTime: Required value: completionTime is required for Complete jobs",
                "startTime: Required value: startTime is required for finished job",
            ]),
        ];
        for (status, expected) in cases {
            assert_eq!(found(status.clone(), json!({})), expected, "{status}");
        }
        assert_eq!(
            found(json!({}), json!({"failed": 1})),
            ["failed: Invalid value: 0: cannot decrease the failed counter"]
        );
        // Nothing is said of what was so before.
        let odd = json!({"active": 1, "ready": 2, "conditions": holds(&["Complete"])});
        assert_eq!(found(odd.clone(), odd), [""; 0]);
    }
}
