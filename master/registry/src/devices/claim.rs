//! What a claim asks for: requests for devices, what these have in common, and what their drivers are told.

use std::collections::BTreeMap;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::forms::{bounded, distinct, driver, formed, fully_qualified, key, label, raw, text};
use super::selector;
use crate::check::{self, Findings};

/// Requests, constraints or configurations of one claim.
const ITEMS_MAX: usize = 32;
/// Choices of one request.
const CHOICES_MAX: usize = 8;
const PARAMETERS_BYTES_MAX: usize = 10 << 10;

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// The requests of a claim, with the choices that each leaves.
pub(super) struct Requests(BTreeMap<String, Vec<String>>);

impl Requests {
    pub(super) fn of(spec: &Value) -> Self {
        let name = |request: &Value| text(request, "name").to_owned();
        let all = meta::items(spec, &["devices", "requests"]).iter();
        Self(
            all.map(|request| {
                let choices = meta::items(request, &["firstAvailable"]);
                (name(request), choices.iter().map(name).collect())
            })
            .collect(),
        )
    }

    /// What is wrong with a word that is to name a request, or one of its choices after a slash.
    pub(super) fn check(&self, word: &str, path: &FieldPath, errors: &mut Findings) {
        let parts: Vec<&str> = word.split('/').collect();
        let is_known = match parts.as_slice() {
            [name] => self.0.contains_key(*name),
            [name, choice] => {
                self.0.get(*name).is_some_and(|choices| choices.iter().any(|it| it == choice))
            }
            _ => false,
        };
        if parts.len() <= 2 {
            for part in parts {
                formed(part, names::dns1123_label(part), path, errors);
            }
        }
        if !is_known {
            let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.push(FieldError::invalid(path.clone(), word, detail));
        }
    }

    /// The same of a list of them.
    pub(super) fn check_all(&self, holder: &Value, path: &FieldPath, errors: &mut Findings) {
        let listed = bounded(holder, "requests", ITEMS_MAX, path, errors);
        let path = path.child("requests");
        for (at, word) in listed.iter().enumerate() {
            self.check(word.as_str().unwrap_or_default(), &path.index(at), errors);
        }
        distinct(listed.iter().cloned(), &path, errors);
    }
}

pub(super) fn spec(spec: &Value, path: &FieldPath) -> Findings {
    let mut errors = Vec::new();
    let path = path.child("devices");
    let devices = &spec["devices"];
    let known = Requests::of(spec);
    let asked = bounded(devices, "requests", ITEMS_MAX, &path, &mut errors);
    let place = path.child("requests");
    for (at, request) in asked.iter().enumerate() {
        one_request(request, &place.index(at), &mut errors);
    }
    distinct(asked.iter().map(|it| text(it, "name").into()), &place, &mut errors);
    let constraints = bounded(devices, "constraints", ITEMS_MAX, &path, &mut errors);
    for (at, constraint) in constraints.iter().enumerate() {
        let path = path.child("constraints").index(at);
        known.check_all(constraint, &path, &mut errors);
        one_constraint(constraint, &path, &mut errors);
    }
    let configs = bounded(devices, "config", ITEMS_MAX, &path, &mut errors);
    for (at, config) in configs.iter().enumerate() {
        let place = path.child("config").index(at);
        known.check_all(config, &place, &mut errors);
        opaque(config, &place, &mut errors);
    }
    errors
}

fn one_request(request: &Value, path: &FieldPath, errors: &mut Findings) {
    label(request, "name", path, errors);
    let has_choices = !meta::items(request, &["firstAvailable"]).is_empty();
    match (meta::at(request, &["exactly"]), has_choices) {
        (None, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path.clone(), detail));
        }
        (Some(_), true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path.clone(), Value::Null, detail));
        }
        (Some(exactly), false) => devices(exactly, &path.child("exactly"), errors),
        (None, true) => {
            let choices = bounded(request, "firstAvailable", CHOICES_MAX, path, errors);
            let path = path.child("firstAvailable");
            for (at, choice) in choices.iter().enumerate() {
                label(choice, "name", &path.index(at), errors);
                devices(choice, &path.index(at), errors);
            }
            distinct(choices.iter().map(|it| text(it, "name").into()), &path, errors);
        }
    }
}

/// What is asked for: a class, and how many of it.
fn devices(request: &Value, path: &FieldPath, errors: &mut Findings) {
    check::named(request, "deviceClassName", path, names::dns1123_subdomain, errors);
    selector::check(request, path, errors);
    let count = meta::number(request, &["count"]).unwrap_or_default();
    let place = path.child("count");
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(place, count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(place, count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        mode => {
            let known = ["All", "ExactCount"];
            errors.push(FieldError::not_supported(path.child("allocationMode"), mode, &known));
        }
    }
    for (at, toleration) in meta::items(request, &["tolerations"]).iter().enumerate() {
        one_toleration(toleration, &path.child("tolerations").index(at), errors);
    }
}

/// A taint that does not matter.
fn one_toleration(toleration: &Value, path: &FieldPath, errors: &mut Findings) {
    let (name, value) = (text(toleration, "key"), text(toleration, "value"));
    if !name.is_empty() {
        key(name, &path.child("key"), errors);
    }
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(path.child("value"), value, detail));
        }
        "Exists" => {}
        "Equal" => formed(value, names::label_value(value), &path.child("value"), errors),
        other => {
            let known = ["Equal", "Exists"];
            errors.push(FieldError::not_supported(path.child("operator"), other, &known));
        }
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(path.child("effect"), effect, &EFFECTS));
    }
}

/// What keeps claims off a device.
pub(super) fn one_taint(taint: &Value, path: &FieldPath, errors: &mut Findings) {
    key(text(taint, "key"), &path.child("key"), errors);
    let (value, effect) = (text(taint, "value"), text(taint, "effect"));
    if !value.is_empty() {
        formed(value, names::label_value(value), &path.child("value"), errors);
    }
    if effect.is_empty() {
        errors.push(FieldError::required(path.child("effect"), ""));
    } else if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(path.child("effect"), effect, &EFFECTS));
    }
}

/// Devices have something in common, or do not: by an attribute with its domain.
fn one_constraint(constraint: &Value, path: &FieldPath, errors: &mut Findings) {
    let kinds = ["matchAttribute", "distinctAttribute"];
    match kinds.into_iter().find(|kind| meta::at(constraint, &[kind]).is_some()) {
        Some(kind) => fully_qualified(text(constraint, kind), &path.child(kind), errors),
        None => {
            let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path.clone(), detail));
        }
    }
}

/// What a driver is told of devices.
pub(super) fn opaque(config: &Value, path: &FieldPath, errors: &mut Findings) {
    let path = path.child("opaque");
    match meta::at(config, &["opaque"]) {
        None => errors.push(FieldError::required(path, "")),
        Some(opaque) => {
            driver(text(opaque, "driver"), &path.child("driver"), errors);
            let place = path.child("parameters");
            raw(&opaque["parameters"], PARAMETERS_BYTES_MAX, &place, errors);
        }
    }
}
