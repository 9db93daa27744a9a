//! What kinds with a pod template have in common: rules, and the wide columns of their tables.

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::selector::{self, LabelSelector};
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::pod::validate;
use crate::table::Cell;

pub(crate) const CONTAINERS: Cell =
    Cell::text("Containers", |object, _| names(object, "name")).wide();
pub(crate) const IMAGES: Cell = Cell::text("Images", |object, _| names(object, "image")).wide();
pub(crate) const SELECTOR: Cell = Cell::text("Selector", |object, _| selector_text(object)).wide();

fn names(object: &Value, field: &str) -> Value {
    list(meta::items(object, &["spec", "template", "spec", "containers"]), field).into()
}

/// One field of each item, joined by commas.
pub(crate) fn list(items: &[Value], field: &str) -> String {
    items.iter().map(|item| meta::text(item, &[field])).collect::<Vec<_>>().join(",")
}

fn selector_text(object: &Value) -> Value {
    match meta::at(object, &["spec", "selector"]) {
        None => "<none>".into(),
        Some(selector) => {
            LabelSelector::from_json(selector).map_or("<invalid>".into(), |s| s.to_string().into())
        }
    }
}

/// A selector that is there, not empty, well formed, and matches the template's labels. Kinds tell it in their own words.
pub(crate) fn selector(object: &Value, words: SelectorWords, errors: &mut Findings) {
    let path = FieldPath::new("spec.selector");
    let Some(found) = meta::at(object, &["spec", "selector"]) else {
        if words.is_demanded {
            errors.push(FieldError::required(path, ""));
        }
        mismatched(object, errors);
        return;
    };
    let wrong = selector::validate(found, &path);
    let is_wrong = !wrong.is_empty();
    errors.extend(wrong);
    let parsed = LabelSelector::from_json(found);
    if let Ok(parsed) = &parsed
        && parsed.is_everything()
    {
        let detail = format!("empty selector is invalid for {}", words.kind);
        errors.push(FieldError::invalid(path, found.clone(), detail));
        return;
    }
    match (parsed, is_wrong) {
        (Ok(parsed), false) => matches(&parsed, object, errors),
        _ => errors
            .extend(words.malformed.map(|detail| FieldError::invalid(path, found.clone(), detail))),
    }
}

/// How a kind tells what is wrong with its selector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectorWords {
    kind: &'static str,
    is_demanded: bool,
    /// Said of a selector that cannot be read, where anything is.
    malformed: Option<&'static str>,
}

pub(crate) const OF_DEPLOYMENTS: SelectorWords = SelectorWords {
    kind: "deployment",
    is_demanded: true,
    malformed: Some("invalid label selector"),
};
pub(crate) const OF_STATEFUL_SETS: SelectorWords =
    SelectorWords { kind: "statefulset", is_demanded: true, malformed: Some("") };
pub(crate) const OF_DAEMON_SETS: SelectorWords =
    SelectorWords { kind: "daemonset", is_demanded: false, malformed: None };

/// The template's labels must match.
pub(crate) fn matches(selector: &LabelSelector, object: &Value, errors: &mut Findings) {
    if !selector.matches(&object["spec"]["template"]["metadata"]["labels"]) {
        mismatched(object, errors);
    }
}

fn mismatched(object: &Value, errors: &mut Findings) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    let detail = "`selector` does not match template `labels`";
    errors.push(FieldError::invalid("spec.template.metadata.labels", labels, detail));
}

/// A template whose pods are restarted for ever.
pub(crate) fn lasting_template(object: &Value, errors: &mut Findings) {
    let path = FieldPath::new("spec.template");
    let Some(template) = meta::at(object, &["spec", "template"]) else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    validate::template(template, &path, errors);
    let policy = meta::text(template, &["spec", "restartPolicy"]);
    if !matches!(policy, "" | "Always") {
        let path = path.child("spec").child("restartPolicy");
        errors.push(FieldError::not_supported(path, policy, &["Always"]));
    }
    if meta::at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let path = path.child("spec").child("activeDeadlineSeconds");
        errors.push(FieldError::forbidden(
            path,
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

/// The numbers of a specification that must not be negative.
pub(crate) fn counts(object: &Value, fields: &[&str], errors: &mut Findings) {
    for field in fields {
        check::not_negative(&object["spec"], field, &FieldPath::new("spec"), errors);
    }
}

/// What a status counts must not be negative.
pub(crate) fn status_counts(object: &Value, fields: &[&str]) -> Findings {
    let mut errors = Vec::new();
    for field in fields {
        check::not_negative(&object["status"], field, &FieldPath::new("status"), &mut errors);
    }
    errors
}

/// Of the pods that a status counts, none of these are more than all, and no more are available than are ready.
pub(crate) fn status_parts(
    object: &Value,
    parts: &[&str],
    than_ready: &str,
    errors: &mut Findings,
) {
    let path = FieldPath::new("status");
    let number = |field: &str| meta::number(object, &["status", field]).unwrap_or_default();
    for part in parts {
        if number(part) > number("replicas") {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(path.child(part), number(part), detail));
        }
    }
    let available = number("availableReplicas");
    if available > number("readyReplicas") {
        errors.push(FieldError::invalid(path.child("availableReplicas"), available, than_ready));
    }
}

/// The status of what keeps a number of pods.
pub(crate) fn replica_status(object: &Value, counts: &[&str]) -> Findings {
    let mut errors = status_counts(object, counts);
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    status_parts(object, &parts, "cannot be greater than readyReplicas", &mut errors);
    errors
}

/// A count of collisions only grows.
pub(crate) fn collisions(new: &Value, old: &Value, errors: &mut Findings) {
    let count = |object| meta::number(object, &["status", "collisionCount"]);
    let path = FieldPath::new("status").child("collisionCount");
    match (count(new), count(old)) {
        (None, Some(_)) => errors.push(FieldError::invalid(path, Value::Null, "cannot be unset")),
        (Some(is), Some(was)) if is < was => {
            errors.push(FieldError::invalid(path, is, "cannot be decremented"));
        }
        _ => {}
    }
}

/// The time since a status field's moment, or something else where it is absent.
pub(crate) fn since(object: &Value, path: &[&str], now: Timestamp, absent: &str) -> Value {
    match time::parse(meta::text(object, path)) {
        None => absent.into(),
        then => time::age(then, now).into(),
    }
}
