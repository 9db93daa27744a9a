//! What of a pod may change once it exists.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use crate::check::{self, Findings, same};

const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update through the pod itself: only images, deadline, tolerations and gates.
pub(crate) fn validate(new: &Value, old: &Value, errors: &mut Findings) {
    let spec = FieldPath::new("spec");
    for list in ["containers", "initContainers"] {
        if meta::items(new, &["spec", list]).len() != meta::items(old, &["spec", list]).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(spec.child(list), detail));
            return;
        }
    }
    deadline(new, old, &spec.child("activeDeadlineSeconds"), errors);
    let tolerations = |pod| meta::items(pod, &["spec", "tolerations"]);
    if tolerations(old).iter().any(|kept| !tolerations(new).contains(kept)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        if !only_seconds_changed(tolerations(new), tolerations(old)) {
            errors.push(FieldError::forbidden(spec.child("tolerations"), detail));
        }
    }
    let gates = |pod| meta::items(pod, &["spec", "schedulingGates"]);
    for (at, gate) in gates(new).iter().enumerate() {
        if !gates(old).contains(gate) {
            let path = spec.child("schedulingGates").index(at);
            let detail = "only deletion is allowed, but found new scheduling gate";
            errors.push(FieldError::forbidden(
                path,
                format!("{detail} '{}'", meta::text(gate, &["name"])),
            ));
        }
    }
    let mut allowed = new["spec"].clone();
    adopt(&mut allowed, &old["spec"], !gates(old).is_empty());
    if !same(&allowed, &old["spec"]) {
        let detail = format!(
            "pod updates may not change fields other than {CHANGEABLE}\n{}",
            differences(&allowed, &old["spec"])
        );
        errors.push(FieldError::forbidden(spec, detail));
    }
}

fn only_seconds_changed(new: &[Value], old: &[Value]) -> bool {
    let without = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(fields) = toleration.as_object_mut() {
            fields.remove("tolerationSeconds");
        }
        toleration
    };
    old.iter().all(|kept| new.iter().any(|toleration| without(toleration) == without(kept)))
}

fn deadline(new: &Value, old: &Value, path: &FieldPath, errors: &mut Findings) {
    let seconds = |pod| meta::number(pod, &["spec", "activeDeadlineSeconds"]);
    match (seconds(new), seconds(old)) {
        (Some(is), Some(was)) if is > was => {
            let detail = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(path.clone(), is, detail));
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path.clone(), Value::Null, detail));
        }
        _ => {}
    }
}

/// Takes over from the old specification what was allowed to change.
fn adopt(spec: &mut Value, old: &Value, is_gated: bool) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (container, was) in containers.iter_mut().zip(meta::items(old, &[list])) {
            put(container, "image", was.get("image"));
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(spec, field, old.get(field));
    }
    if meta::number(old, &["terminationGracePeriodSeconds"]).is_some_and(|grace| grace < 0) {
        put(spec, "terminationGracePeriodSeconds", old.get("terminationGracePeriodSeconds"));
    }
    if is_gated {
        put(spec, "nodeSelector", old.get("nodeSelector"));
        put(spec, "affinity", old.get("affinity"));
    }
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}

/// The top-level fields of a specification that differ, as `-old` and `+new` lines.
fn differences(new: &Value, old: &Value) -> String {
    let empty = Map::new();
    let (is, was) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let mut text = String::new();
    let keys = was.keys().chain(is.keys().filter(|key| !was.contains_key(*key)));
    for key in keys {
        let (is, was) = (&new[key.as_str()], &old[key.as_str()]);
        if !same(is, was) {
            text.push_str(&format!("- {key}: {was}\n+ {key}: {is}\n"));
        }
    }
    text
}

/// A write through `ephemeralcontainers`: containers may only be added.
pub(crate) fn ephemeral(new: &Value, old: &Value, errors: &mut Findings) {
    let path = FieldPath::new("spec").child("ephemeralContainers");
    let list = |pod| meta::items(pod, &["spec", "ephemeralContainers"]);
    for (at, was) in list(old).iter().enumerate() {
        match list(new).iter().find(|container| container["name"] == was["name"]) {
            None => {
                let detail =
                    format!("existing ephemeral containers {} may not be removed\n", was["name"]);
                errors.push(FieldError::forbidden(path.clone(), detail));
            }
            Some(is) if !check::same(is, was) => {
                let detail =
                    format!("existing ephemeral containers {} may not be changed\n", was["name"]);
                errors.push(FieldError::forbidden(path.index(at), detail));
            }
            Some(_) => {}
        }
    }
}
