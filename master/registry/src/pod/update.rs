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
    let is_gated = !gates(old).is_empty();
    if is_gated {
        narrowed(&new["spec"], &old["spec"], &spec, errors);
    }
    let mut allowed = new["spec"].clone();
    adopt(&mut allowed, &old["spec"], is_gated);
    if !same(&allowed, &old["spec"]) || selectors(&allowed) != selectors(&old["spec"]) {
        let detail = format!(
            "pod updates may not change fields other than {CHANGEABLE}\n{}",
            differences(&allowed, &old["spec"])
        );
        errors.push(FieldError::forbidden(spec, detail));
    }
}

/// Which terms of a pod's affinity to others have selectors: one that selects everything is not none.
fn selectors(spec: &Value) -> Vec<[bool; 2]> {
    let mut found = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = |list: &str| meta::items(spec, &["affinity", kind, list]).iter();
        let preferred = terms("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = preferred.map(|weighted| &weighted["podAffinityTerm"]);
        for term in terms("requiredDuringSchedulingIgnoredDuringExecution").chain(preferred) {
            found.push(["labelSelector", "namespaceSelector"].map(|it| !term[it].is_null()));
        }
    }
    found
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
        let affinity = meta::at(old, &["affinity", "nodeAffinity"]);
        if affinity.is_some() || meta::at(spec, &["affinity"]).is_some() {
            let fields = meta::object_mut(spec, &["affinity"]);
            match affinity {
                Some(affinity) => drop(fields.insert("nodeAffinity".into(), affinity.clone())),
                None => drop(fields.remove("nodeAffinity")),
            }
        }
    }
}

/// A pod that waits at a gate may be bound to fewer nodes, and not to others.
fn narrowed(new: &Value, old: &Value, path: &FieldPath, errors: &mut Findings) {
    let (is, was) = (&new["nodeSelector"], &old["nodeSelector"]);
    let mut kept = was.as_object().into_iter().flatten();
    if !kept.all(|(key, value)| is.get(key) == Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(path.child("nodeSelector"), is.clone(), detail));
    }
    const REQUIRED: [&str; 4] = [
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let (is, was) = (meta::items(new, &REQUIRED), meta::items(old, &REQUIRED));
    let path = REQUIRED.iter().fold(path.clone(), |path, step| path.child(step));
    if !was.is_empty() && is.len() != was.len() {
        let shown = meta::at(new, &REQUIRED).cloned().unwrap_or_default();
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(path, shown, detail));
        return;
    }
    for (at, (is, was)) in is.iter().zip(was).enumerate() {
        let list = |term: &'_ Value, name: &str| meta::items(term, &[name]).to_vec();
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|name| list(was, name).is_empty());
        let only_added = lists.iter().all(|name| list(is, name).starts_with(&list(was, name)));
        let is_empty = lists.iter().all(|name| list(is, name).is_empty());
        if !only_added || (was_empty && !is_empty) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(path.index(at), is.clone(), detail));
        }
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
    for was in list(old) {
        match list(new).iter().find(|container| container["name"] == was["name"]) {
            None => {
                let detail =
                    format!("existing ephemeral containers {} may not be removed\n", was["name"]);
                errors.push(FieldError::forbidden(path.clone(), detail));
            }
            Some(is) if !check::same(is, was) => {
                let detail =
                    format!("existing ephemeral containers {} may not be changed\n", was["name"]);
                errors.push(FieldError::forbidden(path.clone(), detail));
            }
            Some(_) => {}
        }
    }
}

/// Annotation of a pod that mirrors a file of its node.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A write through `resize`: processor and memory only, on a node that can do it; nothing is taken away.
pub(crate) fn resize(new: &Value, old: &Value, class: (&str, &str), errors: &mut Findings) {
    let spec = FieldPath::new("spec");
    if !meta::annotation(old, MIRROR).is_empty() {
        *errors = vec![FieldError::forbidden("", "static pods cannot be resized")];
        return;
    }
    let (is, was) = class;
    if is != was {
        let shown = meta::text(new, &["status", "qosClass"]);
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(spec.clone(), shown, detail));
    }
    if !is_resizable(old) {
        let detail = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden(spec.clone(), detail));
    }
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        in_order(new, old, list, &spec.child(list), errors);
    }
    if errors.len() > before {
        return;
    }
    for list in ["initContainers", "containers"] {
        let pairs = meta::items(new, &["spec", list]).iter().zip(meta::items(old, &["spec", list]));
        for (at, (is, was)) in pairs.enumerate() {
            let path = spec.child(list).index(at).child("resources");
            for (kind, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                let names = was["resources"][kind].as_object().into_iter().flatten();
                if names.into_iter().any(|(name, _)| is["resources"][kind].get(name).is_none()) {
                    let detail = format!("{what} cannot be removed");
                    errors.push(FieldError::forbidden(path.child(kind), detail));
                }
            }
        }
    }
    for (list, detail) in [
        ("containers", "only cpu and memory resources are mutable"),
        (
            "initContainers",
            "only cpu and memory resources for init or sidecar containers are mutable",
        ),
    ] {
        let pairs = meta::items(new, &["spec", list]).iter().zip(meta::items(old, &["spec", list]));
        for (at, (is, was)) in pairs.enumerate() {
            if !same(&without_computed(is), &without_computed(was)) {
                let path =
                    if list == "containers" { spec.clone() } else { spec.child(list).index(at) };
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
}

/// Whether the node that runs the pod has told what its containers have, as one does that can change it.
fn is_resizable(pod: &Value) -> bool {
    let statuses = meta::items(pod, &["status", "containerStatuses"]);
    let running = statuses.iter().find(|status| meta::at(status, &["state", "running"]).is_some());
    running.is_none_or(|status| meta::at(status, &["resources"]).is_some())
}

fn in_order(new: &Value, old: &Value, list: &str, path: &FieldPath, errors: &mut Findings) {
    let (is, was) = (meta::items(new, &["spec", list]), meta::items(old, &["spec", list]));
    if is.len() != was.len() {
        let detail = format!("{list} may not be added or removed on resize");
        errors.push(FieldError::forbidden(path.clone(), detail));
        return;
    }
    for (at, (is, was)) in is.iter().zip(was).enumerate() {
        if is["name"] != was["name"] {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(path.index(at).child("name"), detail));
        }
    }
}

/// A container but for the amounts that a resize is about.
fn without_computed(container: &Value) -> Value {
    let mut container = container.clone();
    for kind in ["requests", "limits"] {
        if let Some(amounts) = container["resources"][kind].as_object_mut() {
            amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        }
    }
    container
}
