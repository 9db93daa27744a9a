//! What the status of a job must be like: what it counts fits together, and a finished job has all that finishing takes.
//!
//! What was wrong before is not held against a write that leaves it alone.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::Value;

use super::job_policies::{count_indexes, index_span};
use crate::check::{self, Findings};
use crate::workload::status_counts;

/// A job and its status.
#[derive(Clone, Copy)]
struct Job<'a>(&'a Value);

impl<'a> Job<'a> {
    fn at(self, field: &str) -> Option<&'a Value> {
        meta::at(self.0, &["status", field])
    }

    fn spec(self, field: &str) -> Option<&'a Value> {
        meta::at(self.0, &["spec", field])
    }

    fn number(self, field: &str) -> i64 {
        self.at(field).and_then(Value::as_i64).unwrap_or_default()
    }

    fn text(self, field: &str) -> &'a str {
        self.at(field).and_then(Value::as_str).unwrap_or_default()
    }

    fn says(self, condition: &str, status: &str) -> bool {
        let mut conditions = meta::items(self.0, &["status", "conditions"]).iter();
        conditions.any(|it| it["type"] == condition && it["status"] == status)
    }

    fn is(self, condition: &str) -> bool {
        self.says(condition, "True")
    }

    fn is_finished(self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn is_indexed(self) -> bool {
        self.spec("completionMode").is_some_and(|mode| mode == "Indexed")
    }

    fn is_suspended(self) -> bool {
        self.spec("suspend").is_some_and(|suspend| *suspend == true)
    }

    fn uncounted(self, how: &str) -> &'a [Value] {
        meta::items(self.0, &["status", "uncountedTerminatedPods", how])
    }
}

/// What a write changes of a status.
#[derive(Clone, Copy)]
struct Write<'a> {
    new: Job<'a>,
    old: Job<'a>,
}

impl Write<'_> {
    fn touches(self, field: &str) -> bool {
        // What is not there and what is empty are the same to a list of uids, and to a text that is no pointer.
        let plain = |job: Job<'_>| match field {
            "completedIndexes" => Value::from(job.text(field)),
            "active" => Value::from(job.number(field)),
            "uncountedTerminatedPods" => Value::from(vec![
                job.uncounted("succeeded").to_vec(),
                job.uncounted("failed").to_vec(),
            ]),
            _ => job.at(field).cloned().unwrap_or_default(),
        };
        plain(self.new) != plain(self.old)
    }

    fn turns(self, condition: &str) -> bool {
        self.new.is(condition) != self.old.is(condition)
    }

    fn finishes(self) -> bool {
        self.new.is_finished() != self.old.is_finished()
    }
}

/// What is wrong with a written status.
pub(super) fn validate(new: &Value, old: &Value) -> Findings {
    let mut errors = status_counts(new, &["active", "succeeded", "failed", "ready", "terminating"]);
    let write = Write { new: Job(new), old: Job(old) };
    let path = FieldPath::new("status");
    uncounted(write.new, &path.child("uncountedTerminatedPods"), &mut errors);
    contradictions(write, &path, &mut errors);
    times(write, &path, &mut errors);
    ends(write, &path, &mut errors);
    indexes(write, &path, &mut errors);
    if (write.touches("ready") || write.touches("active"))
        && write.new.at("ready").is_some()
        && write.new.number("ready") > write.new.number("active")
    {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(path.child("ready"), write.new.number("ready"), detail));
    }
    reversals(write, &path, &mut errors);
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

fn no_condition(path: &FieldPath, detail: impl Into<String>) -> FieldError {
    FieldError::invalid(path.child("conditions"), "", detail).without_value()
}

fn contradictions(write: Write<'_>, path: &FieldPath, errors: &mut Findings) {
    let new = write.new;
    let mut say = |is_wrong: bool, detail: &str| {
        errors.extend(is_wrong.then(|| no_condition(path, detail)));
    };
    let both = |one: &str, other: &str| new.is(one) && new.is(other);
    let turns = |one: &str, other: &str| write.turns(one) || write.turns(other);
    say(
        turns("Complete", "Failed") && both("Complete", "Failed"),
        "cannot set Complete=True and Failed=true conditions",
    );
    say(
        turns("Complete", "FailureTarget") && both("Complete", "FailureTarget"),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    say(
        (write.turns("Failed") || write.touches("failedIndexes"))
            && new.is("Failed")
            && !new.is("FailureTarget"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    say(
        turns("Complete", "SuccessCriteriaMet")
            && new.is("Complete")
            && !new.is("SuccessCriteriaMet"),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    say(
        both("SuccessCriteriaMet", "Failed"),
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    );
    say(
        both("SuccessCriteriaMet", "FailureTarget"),
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    );
    say(
        new.spec("successPolicy").is_some() && new.is("Complete") && !new.is("SuccessCriteriaMet"),
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
}

fn times(write: Write<'_>, path: &FieldPath, errors: &mut Findings) {
    let new = write.new;
    let place = path.child("completionTime");
    let (start, end) = (new.at("startTime"), new.at("completionTime"));
    let is_touched = write.touches("completionTime");
    match end {
        Some(end) if (is_touched || write.turns("Complete")) && !new.is("Complete") => {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(place.clone(), end.clone(), detail));
        }
        None if (is_touched || write.turns("Complete")) && new.is("Complete") => {
            let detail = "completionTime is required for Complete jobs";
            errors.push(FieldError::required(place.clone(), detail));
        }
        _ => {}
    }
    let moment = |value: Option<&Value>| value.and_then(Value::as_str).and_then(time::parse);
    if let (Some(from), Some(to)) = (moment(start), moment(end))
        && to < from
        && (is_touched || write.touches("startTime"))
    {
        let detail = "must be equal to or after `startTime`";
        let shown = end.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(place, shown, detail));
    }
}

/// What a job that ends has, and has not.
fn ends(write: Write<'_>, path: &FieldPath, errors: &mut Findings) {
    let new = write.new;
    if !new.is_finished() {
        return;
    }
    let is_meant = |field: &str| write.finishes() || write.touches(field);
    for field in ["active", "terminating"] {
        if is_meant(field) && new.number(field) > 0 {
            let detail = format!("{field}>0 is invalid for finished job");
            errors.push(FieldError::invalid(path.child(field), new.number(field), detail));
        }
    }
    let never_starts =
        new.is_suspended() && new.spec("completions").is_some_and(|count| *count == 0);
    if new.at("startTime").is_none() && is_meant("startTime") && !never_starts {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required(path.child("startTime"), detail));
    }
    let is_left = ["succeeded", "failed"].iter().any(|how| !new.uncounted(how).is_empty());
    if is_meant("uncountedTerminatedPods") && is_left {
        let shown = new.at("uncountedTerminatedPods").cloned().unwrap_or_default();
        let detail = "must be empty for finished job";
        errors.push(FieldError::invalid(path.child("uncountedTerminatedPods"), shown, detail));
    }
}

fn indexes(write: Write<'_>, path: &FieldPath, errors: &mut Findings) {
    let new = write.new;
    let completions = new.spec("completions").and_then(Value::as_i64);
    let (completed, failed) = (new.text("completedIndexes"), new.text("failedIndexes"));
    let (fresh, fresh_failed) = (write.touches("completedIndexes"), write.touches("failedIndexes"));
    let has_limit = new.spec("backoffLimitPerIndex").is_some();
    let mut say = |field: &str, detail: String| {
        errors.push(FieldError::invalid(path.child(field), new.text(field), detail));
    };
    let parse = |text: &str| count_indexes(text, completions?).err();
    if let Some(problem) = parse(completed).filter(|_| fresh) {
        say("completedIndexes", format!("error parsing completedIndexes: {problem}"));
    }
    if let Some(problem) = parse(failed).filter(|_| fresh_failed && has_limit) {
        say("failedIndexes", format!("error parsing failedIndexes: {problem}"));
    }
    if fresh && !completed.is_empty() && !new.is_indexed() {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        say("completedIndexes", detail.to_owned());
    }
    if fresh_failed && !has_limit && new.at("failedIndexes").is_some() {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        say("failedIndexes", detail.to_owned());
    }
    let shared = completions.and_then(|completions| shared_index(completed, failed, completions));
    if let Some(index) = shared.filter(|_| fresh || fresh_failed) {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        say("failedIndexes", detail);
    }
}

/// The first index that is in both texts. Parts that cannot be read are told of elsewhere.
fn shared_index(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let spans = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| index_span(part, completions).ok()).collect()
    };
    let (completed, failed) = (spans(completed), spans(failed));
    let (mut these, mut those) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((from, to)), Some((other_from, other_to))) = (these.peek(), those.peek()) {
        if from <= other_to && other_from <= to {
            return Some(*from.max(other_from));
        }
        if from <= other_from {
            these.next();
        } else {
            those.next();
        }
    }
    None
}

/// What was said once stays said, and what was counted stays counted.
fn reversals(write: Write<'_>, path: &FieldPath, errors: &mut Findings) {
    let Write { new, old } = write;
    let is_gone = |condition: &str| old.is(condition) && !new.is(condition);
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if is_gone(condition) {
            let detail = format!("cannot disable the terminal {condition}=True condition");
            errors.push(no_condition(path, detail));
        }
    }
    let may_shrink = new.is_indexed() && new.spec("completions") == new.spec("parallelism");
    for field in ["failed", "succeeded"] {
        let is_allowed = field == "succeeded" && may_shrink;
        if new.number(field) < old.number(field) && !is_allowed {
            let detail = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(path.child(field), new.number(field), detail));
        }
    }
    if let (Some(end), Some(_)) = (new.at("completionTime"), old.at("completionTime"))
        && write.touches("completionTime")
    {
        let place = path.child("completionTime");
        errors.push(FieldError::invalid(place, end.clone(), check::IMMUTABLE));
    }
    let resumes = old.is("Suspended") && new.says("Suspended", "False");
    if old.at("startTime").is_some()
        && write.touches("startTime")
        && !resumes
        && !new.is_suspended()
    {
        let shown = new.at("startTime").cloned().unwrap_or_default();
        let detail = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid(path.child("startTime"), shown, detail));
    }
    if is_gone("SuccessCriteriaMet") {
        errors.push(no_condition(path, "cannot disable the SuccessCriteriaMet=True condition"));
    }
    if old.is("Complete") && !old.is("SuccessCriteriaMet") && new.is("SuccessCriteriaMet") {
        let detail =
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(no_condition(path, detail));
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
            (json!({"uncountedTerminatedPods": {"failed": ["a"]}, "failed": 1, "startTime": start, "conditions": holds(&["FailureTarget", "Failed"])}),
             vec!["uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\"]}: must be empty for finished job"]),
            (json!({"completedIndexes": "0-2,4", "failedIndexes": "1,3"}), vec!["failedIndexes: Invalid value: \"1,3\": failedIndexes and completedIndexes overlap at index: 1"]),
            (json!({"completedIndexes": "0-1-2"}), vec!["completedIndexes: Invalid value: \"0-1-2\": error parsing completedIndexes: the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'"]),
            (json!({"conditions": holds(&["SuccessCriteriaMet", "FailureTarget"])}), vec!["conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"]),
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
        let run = |change: Value| {
            let mut status = json!({"startTime": start});
            status.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            status
        };
        let later = "2026-01-02T00:00:00Z";
        #[rustfmt::skip]
        let changes = [
            (done.clone(), run(json!({"completionTime": later, "succeeded": 1, "conditions": holds(&["SuccessCriteriaMet", "Complete"])})), vec!["completionTime: Invalid value: \"2026-01-02T00:00:00Z\": field is immutable"]),
            (run(json!({})), json!({"startTime": later}), vec!["startTime: Invalid value: \"2026-01-02T00:00:00Z\": field is immutable for unsuspended job once set"]),
            (run(json!({"conditions": holds(&["Suspended"])})), json!({"startTime": later, "conditions": [{"type": "Suspended", "status": "False"}]}), vec![]),
            (json!({}), json!({"startTime": later}), vec![]),
            (json!({"conditions": holds(&["FailureTarget"])}), json!({}), vec!["conditions: Invalid value: cannot disable the terminal FailureTarget=True condition"]),
            (json!({"conditions": holds(&["SuccessCriteriaMet"])}), json!({}), vec!["conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"]),
        ];
        for (old, new, expected) in changes {
            assert_eq!(found(new.clone(), old), expected, "{new}");
        }
        // Nothing is said of what was so before.
        let odd = json!({"active": 1, "ready": 2, "conditions": holds(&["Complete"])});
        assert_eq!(found(odd.clone(), odd), [""; 0]);
    }
}
