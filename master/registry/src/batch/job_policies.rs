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

/// So many indexes may be lost, or run at a time.
const INDEXES_MAX: i64 = 100_000;
/// Above so many completions fewer may be, where each index is counted by itself.
const COMPLETIONS_MANY: i64 = 100_000;
const INDEXES_MAX_OF_MANY: i64 = 10_000;
const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const SUCCEEDED_INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const NO_ACTION: &str = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
const NO_OPERATOR: &str = "valid values: [\"In\" \"NotIn\"]";
const NO_STATUS: &str = "valid values: [\"False\" \"True\" \"Unknown\"]";

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("parallelism", Must::NotBeNegative),
    ("completions", Must::NotBeNegative),
    ("activeDeadlineSeconds", Must::NotBeNegative),
    ("backoffLimit", Must::NotBeNegative),
    ("ttlSecondsAfterFinished", Must::NotBeNegative),
    ("backoffLimitPerIndex", Must::NotBeNegative),
    ("maxFailedIndexes", Must::NotBeNegative),
    ("managedBy", Must::BeFormed(manager)),
    ("managedBy", Must::BeShort(63)),
    ("completionMode", Must::BeOneOf(&["NonIndexed", "Indexed"])),
];

/// Who looks after a job that the job controller does not.
fn manager(name: &str) -> Vec<String> {
    if name.is_empty() { vec![] } else { rules::domain_path(name) }
}

/// What is wrong with the specification of a job, its template and selector apart.
pub(super) fn validate(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    rules::check(spec, path, RULES, errors);
    if spec["managedBy"] == "" {
        errors.push(FieldError::required(path.child("managedBy"), ""));
    }
    let number = |field: &str| meta::number(spec, &[field]);
    if number("maxFailedIndexes").is_some() && number("backoffLimitPerIndex").is_none() {
        let detail = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(path.child("backoffLimitPerIndex"), detail));
    }
    let is_indexed = spec["completionMode"] == "Indexed";
    if is_indexed {
        indexed(spec, path, errors);
    }
    let detail = "requires indexed completion mode";
    if spec["completionMode"].is_null() || spec["completionMode"] == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = number(field) {
                errors.push(FieldError::invalid(path.child(field), number, detail));
            }
        }
    }
    let policy = meta::at(spec, &["podFailurePolicy"]);
    if let Some(policy) = policy {
        let place = path.child("podFailurePolicy").child("rules");
        let rules = few(policy, "rules", RULES_MAX, &place, errors);
        for (at, rule) in rules.iter().enumerate() {
            failure(rule, spec, &place.index(at), errors);
        }
    }
    if let Some(policy) = meta::at(spec, &["successPolicy"]) {
        let place = path.child("successPolicy");
        if is_indexed {
            success(policy, number("completions").unwrap_or(0), &place, errors);
        } else {
            errors.push(FieldError::invalid(place, policy.clone(), detail));
        }
    }
    // Whoever judges failures waits for them.
    let replaced: &[&str] =
        if policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if let Some(found) = meta::at(spec, &["podReplacementPolicy"]).and_then(Value::as_str)
        && !replaced.contains(&found)
    {
        let place = path.child("podReplacementPolicy");
        errors.push(FieldError::not_supported(place, found, replaced));
    }
}

/// The items of a list, of which there may be so many.
fn few<'a>(
    object: &'a Value,
    field: &str,
    most: usize,
    path: &FieldPath,
    errors: &mut Findings,
) -> &'a [Value] {
    let items = meta::items(object, &[field]);
    if items.len() > most {
        errors.push(FieldError::too_many(path.clone(), items.len(), most));
    }
    items
}

/// A number has a bound, for this reason.
fn at_most(
    path: &FieldPath,
    errors: &mut Findings,
    field: &str,
    number: Option<i64>,
    (most, when): (i64, &str),
) {
    if let Some(number) = number.filter(|number| *number > most) {
        let detail = format!("must be less than or equal to {most}{when}");
        errors.push(FieldError::invalid(path.child(field), number, detail));
    }
}

/// How many indexes there may be, run and fail.
fn indexed(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let number = |field: &str| meta::number(spec, &[field]);
    let (completions, parallelism) = (number("completions"), number("parallelism"));
    let lost_max = number("maxFailedIndexes");
    if completions.is_none() {
        let detail = "when completion mode is Indexed";
        errors.push(FieldError::required(path.child("completions"), detail));
    }
    at_most(
        path,
        errors,
        "parallelism",
        parallelism,
        (INDEXES_MAX, " when completion mode is Indexed"),
    );
    if let (Some(lost_max), Some(all)) = (lost_max, completions)
        && lost_max > all
    {
        let detail = "must be less than or equal to completions";
        let place = path.child("maxFailedIndexes");
        errors.push(FieldError::invalid(place, lost_max, detail));
    }
    at_most(path, errors, "maxFailedIndexes", lost_max, (INDEXES_MAX, ""));
    let are_many = completions.is_some_and(|completions| completions > COMPLETIONS_MANY);
    if !are_many || number("backoffLimitPerIndex").is_none() {
        return;
    }
    let when = format!(
        " when completions are above {COMPLETIONS_MANY} and used with backoff limit per index"
    );
    at_most(path, errors, "parallelism", parallelism, (INDEXES_MAX_OF_MANY, &when));
    at_most(path, errors, "maxFailedIndexes", lost_max, (INDEXES_MAX_OF_MANY, &when));
    if lost_max.is_none() {
        let detail = format!("must be specified when completions is above {COMPLETIONS_MANY}");
        errors.push(FieldError::required(path.child("maxFailedIndexes"), detail));
    }
}

/// What is made of a pod that failed.
fn failure(rule: &Value, spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let action = ("action", Must::BeChosen(NO_ACTION, &ACTIONS));
    rules::check(rule, path, &[action], errors);
    if rule["action"] == "FailIndex" && meta::at(spec, &["backoffLimitPerIndex"]).is_none() {
        let detail = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(path.child("action"), "FailIndex", detail));
    }
    let codes = meta::at(rule, &["onExitCodes"]);
    let place = path.child("onPodConditions");
    let conditions = few(rule, "onPodConditions", PATTERNS_MAX, &place, errors);
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
        ("onPodConditions[].status", Must::BeChosen(NO_STATUS, &["False", "True", "Unknown"])),
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
    few(codes, "values", EXIT_CODES_MAX, &place, errors);
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
    let rules = few(policy, "rules", RULES_MAX, &path.child("rules"), errors);
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
            if text.len() > SUCCEEDED_INDEXES_BYTES_MAX {
                let place = path.child("succeededIndexes");
                errors.push(FieldError::too_long(place, SUCCEEDED_INDEXES_BYTES_MAX));
            }
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
    let (mut total, mut last) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = index_span(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// The first and the last index of `2-4`.
pub(super) fn index_span(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let read = |limit: &str| {
        let unread = |_| format!("cannot convert string to integer for index: {limit:?}");
        let index = limit.parse::<i64>().map_err(unread)?;
        if index >= completions {
            return Err(format!("too large index: {limit:?}"));
        }
        Ok(index)
    };
    let mut limits = part.split('-');
    let (first, end) = (limits.next().unwrap_or_default(), limits.next());
    if limits.next().is_some() {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let first = read(first)?;
    let Some(end) = end else { return Ok((first, first)) };
    match read(end)? {
        end if first >= end => {
            Err(format!("non-increasing order, previous: {first}, current: {end}"))
        }
        end => Ok((first, end)),
    }
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
            (json!({"completionMode": "Indexed", "completions": 200_000, "backoffLimitPerIndex": 1, "parallelism": 20_000}), vec![
                "spec.parallelism: Invalid value: 20000: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            ]),
            (json!({"backoffLimitPerIndex": 1}), vec!["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
            (json!({"podReplacementPolicy": "TerminatingOrFailed"}), vec![]),
            (json!({"podReplacementPolicy": "TerminatingOrFailed", "podFailurePolicy": {"rules": []}}),
             vec!["spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\""]),
            (json!({"podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]}}),
             vec!["spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"]),
            (json!({"podFailurePolicy": {"rules": vec![json!({"action": "Ignore", "onPodConditions": [{"type": "A", "status": "True"}]}); 21]}}),
             vec!["spec.podFailurePolicy.rules: Too many: 21: must have at most 20 items"]),
            (json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": [{"succeededIndexes": "0-2,2"}]}}),
             vec!["spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-2,2\": error parsing succeededIndexes: non-increasing order, previous: 2, current: 2"]),
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
        assert_eq!(count_indexes("", 9), Ok(0));
        assert_eq!(count_indexes("2-9", 9), Err("too large index: \"9\"".to_owned()));
        let before = "non-increasing order, previous: 3, current: 1";
        assert_eq!(count_indexes("3,1", 9), Err(before.to_owned()));
        assert_eq!(count_indexes("3-1", 9), Err(before.to_owned()));
        assert!(count_indexes("x", 9).is_err() && count_indexes("1-2-3", 9).is_err());
    }
}
