//! Rules of jobs by index: how they fail, and when they have succeeded.
//!
//! # Path
//! `jobs.rs` → here

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::Findings;
use crate::rules::{self, Must, Rule};

const INDEXES_MAX: i64 = 100_000;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const NO_ACTION: &str = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
const NO_OPERATOR: &str = "valid values: [\"In\" \"NotIn\"]";

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("completionMode", Must::BeOneOf(&["NonIndexed", "Indexed"])),
    ("podReplacementPolicy", Must::BeOneOf(&["Failed", "TerminatingOrFailed"])),
    ("backoffLimitPerIndex", Must::NotBeNegative),
    ("maxFailedIndexes", Must::NotBeNegative),
    ("managedBy", Must::BeFormed(manager)),
    ("managedBy", Must::BeShort(63)),
];

/// Who looks after a job that the job controller does not.
fn manager(name: &str) -> Vec<String> {
    if name.is_empty() { vec![] } else { rules::domain_path(name) }
}

/// What is wrong with the specification of a job.
pub(super) fn validate(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let number = |field: &str| meta::number(spec, &[field]);
    let is_indexed = spec["completionMode"] == "Indexed";
    rules::check(spec, path, RULES, errors);
    if spec["managedBy"] == "" {
        errors.push(FieldError::required(path.child("managedBy"), ""));
    }
    if is_indexed {
        if number("completions").is_none() {
            let detail = "when completion mode is Indexed";
            errors.push(FieldError::required(path.child("completions"), detail));
        }
        for field in ["parallelism", "maxFailedIndexes"] {
            let most = number(field).filter(|number| *number > INDEXES_MAX);
            if let Some(number) = most.filter(|_| number("completions").is_some()) {
                let when =
                    if field == "parallelism" { " when completion mode is Indexed" } else { "" };
                let detail = format!("must be less than or equal to {INDEXES_MAX}{when}");
                errors.push(FieldError::invalid(path.child(field), number, detail));
            }
        }
        if let (Some(failed), Some(all)) = (number("maxFailedIndexes"), number("completions"))
            && failed > all
        {
            let detail = "must be less than or equal to completions";
            errors.push(FieldError::invalid(path.child("maxFailedIndexes"), failed, detail));
        }
    }
    if number("maxFailedIndexes").is_some() && number("backoffLimitPerIndex").is_none() {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(path.child("backoffLimitPerIndex"), detail));
    }
    if !is_indexed && matches!(&spec["completionMode"], Value::Null | Value::String(_)) {
        let detail = "requires indexed completion mode";
        if spec["completionMode"].is_null() || spec["completionMode"] == "NonIndexed" {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = number(field) {
                    errors.push(FieldError::invalid(path.child(field), number, detail));
                }
            }
        }
        if let Some(policy) = meta::at(spec, &["successPolicy"]) {
            errors.push(FieldError::invalid(path.child("successPolicy"), policy.clone(), detail));
        }
    }
    if let Some(policy) = meta::at(spec, &["podFailurePolicy"]) {
        for (at, rule) in meta::items(policy, &["rules"]).iter().enumerate() {
            failure(rule, spec, &path.child("podFailurePolicy").child("rules").index(at), errors);
        }
    }
    if let Some(policy) = meta::at(spec, &["successPolicy"]).filter(|_| is_indexed) {
        success(policy, number("completions").unwrap_or(0), &path.child("successPolicy"), errors);
    }
}

/// What is made of a pod that failed.
fn failure(rule: &Value, spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let action = ("action", Must::BeChosen(NO_ACTION, &ACTIONS));
    rules::check(rule, path, &[action], errors);
    let codes = meta::at(rule, &["onExitCodes"]);
    let conditions = meta::items(rule, &["onPodConditions"]);
    match (codes, conditions.is_empty()) {
        (None, true) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::invalid(path.clone(), "", detail).without_value());
        }
        (Some(_), false) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::invalid(path.clone(), "", detail).without_value());
        }
        _ => {}
    }
    if let Some(codes) = codes {
        exit_codes(codes, spec, &path.child("onExitCodes"), errors);
    }
    let rules: &[Rule] = &[
        ("onPodConditions[].type", Must::BeGivenFormed(names::qualified_name)),
        ("onPodConditions[].status", Must::BeChosen("", &["False", "True", "Unknown"])),
    ];
    rules::check(rule, path, rules, errors);
}

fn exit_codes(codes: &Value, spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let operator = ("operator", Must::BeChosen(NO_OPERATOR, &["In", "NotIn"]));
    rules::check(codes, path, &[operator], errors);
    if let Some(name) = meta::at(codes, &["containerName"]) {
        let is_there = ["containers", "initContainers"].iter().any(|list| {
            meta::items(spec, &["template", "spec", list]).iter().any(|it| &it["name"] == name)
        });
        if !is_there {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(path.child("containerName"), name.clone(), detail));
        }
    }
    let values = meta::items(codes, &["values"]);
    let place = path.child("values");
    if values.is_empty() {
        let shown = codes["values"].clone();
        errors.push(FieldError::invalid(place, shown, "at least one value is required"));
        return;
    }
    for (at, value) in values.iter().enumerate() {
        if values[..at].contains(value) {
            errors.push(FieldError::duplicate(place.index(at), value.clone()));
        }
        if value == 0 && codes["operator"] == "In" {
            let detail = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(place.index(at), 0, detail));
        }
    }
    if !values.iter().filter_map(Value::as_i64).is_sorted() {
        errors.push(FieldError::invalid(place, values.to_vec(), "must be ordered"));
    }
}

/// Which indexes are enough.
fn success(policy: &Value, completions: i64, path: &FieldPath, errors: &mut Findings) {
    let rules = meta::items(policy, &["rules"]);
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(path.child("rules"), detail));
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(at);
        let count = meta::number(rule, &["succeededCount"]);
        let indexes = meta::at(rule, &["succeededIndexes"]).and_then(Value::as_str);
        if count.is_none() && indexes.is_none() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(path.clone(), detail));
        }
        let mut total = None;
        if let Some(text) = indexes {
            let counted = count_indexes(text, completions);
            if let Err(problem) = &counted {
                let detail = format!("error parsing succeededIndexes: {problem}");
                errors.push(FieldError::invalid(path.child("succeededIndexes"), text, detail));
            }
            total = Some(counted.unwrap_or(0));
        }
        let Some(count) = count else { continue };
        let place = path.child("succeededCount");
        if count < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(place.clone(), count, detail));
        }
        if count > completions {
            let detail = format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            );
            errors.push(FieldError::invalid(place.clone(), count, detail));
        }
        if let Some(total) = total.filter(|total| count > *total) {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(FieldError::invalid(place, count, detail));
        }
    }
}

/// How many indexes `0,2-4` are.
pub(super) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut last = -1;
    if text.is_empty() {
        return Ok(0);
    }
    let read = |part: &str| {
        part.parse::<i64>()
            .map_err(|_| format!("cannot convert string to integer for index: {part:?}"))
    };
    for part in text.split(',') {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        let (first_index, end_index) = (read(first)?, read(end)?);
        for (index, shown) in [(first_index, first), (end_index, end)] {
            if index >= completions {
                return Err(format!("too large index: {shown:?}"));
            }
        }
        if first_index <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first_index}"));
        }
        if part.contains('-') && end_index <= first_index {
            return Err(format!(
                "non-increasing order, previous: {first_index}, current: {end_index}"
            ));
        }
        total += end_index - first_index + 1;
        last = end_index;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_by_index_say_how_many_there_are() {
        let found = |spec: Value| -> Vec<String> {
            let mut errors = Vec::new();
            validate(&spec, &FieldPath::new("spec"), &mut errors);
            errors.iter().map(ToString::to_string).collect()
        };
        #[rustfmt::skip]
        let cases = [
            (json!({"completionMode": "Indexed", "completions": 3}), vec![]),
            (json!({"completionMode": "Indexed"}), vec!["spec.completions: Required value: when completion mode is Indexed"]),
            (json!({"completionMode": "Indexed", "completions": 3, "maxFailedIndexes": 1}),
             vec!["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"]),
            (json!({"managedBy": "other"}),
             vec!["spec.managedBy: Invalid value: \"other\": must be a domain-prefixed path (such as \"acme.io/foo\")"]),
            (json!({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
             vec!["spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
        ];
        for (spec, expected) in cases {
            assert_eq!(found(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn indexes_are_counted() {
        assert_eq!(count_indexes("0,2-4", 9), Ok(4));
        assert_eq!(count_indexes("9", 9), Err("too large index: \"9\"".to_owned()));
        assert!(count_indexes("3,1", 9).is_err() && count_indexes("x", 9).is_err());
    }
}
