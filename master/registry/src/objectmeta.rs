//! Rules of the metadata that hold for every kind.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::resource::Resource;

/// All annotations of an object together, keys and values.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Finalizers without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Where other finalizers may be without a domain, too.
const FREE_GROUPS: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];

/// What a kind looks at once more when it is updated, after what upstream does for all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    /// At what has changed.
    at_change: bool,
    /// At the whole of the metadata, as when it was created.
    at_whole: bool,
}

/// Kinds that look at both, in groups other than those of [`looks`].
const LOOK_AT_BOTH: [(&str, &str); 24] = [
    ("", "configmaps"),
    ("", "endpoints"),
    ("", "namespaces"),
    ("", "nodes"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("apiregistration.k8s.io", "apiservices"),
    ("apps", "controllerrevisions"),
    ("batch", "jobs"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "ipaddresses"),
    ("node.k8s.io", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// How often a finding is told depends on the kind: this is how kube-apiserver 1.36.3 tells it.
fn looks(resource: &Resource) -> Looks {
    let (group, plural) = (&*resource.group, &*resource.plural);
    let (at_change, at_whole) = match (group, plural) {
        ("policy", _) | ("", "events") => (false, false),
        ("admissionregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _)
        | ("", "limitranges")
        | ("discovery.k8s.io", "endpointslices")
        | ("storage.k8s.io", "csinodes" | "volumeattachments") => (false, true),
        ("resource.k8s.io", plural) => (true, plural != "resourceslices"),
        of => (true, LOOK_AT_BOTH.contains(&of)),
    };
    Looks { at_change, at_whole }
}

/// A part of an object is looked at for what has changed only, by most.
fn looks_at_part(resource: &Resource) -> Looks {
    match (&*resource.group, &*resource.plural) {
        ("policy", _) | ("batch", "cronjobs") => Looks { at_change: false, at_whole: false },
        (group, _) => Looks { at_change: true, at_whole: group == "certificates.k8s.io" },
    }
}

/// What is wrong with the metadata of an object that is written by way of one of its parts.
pub fn validate_part(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    judged(resource, new, Some(old), looks_at_part(resource))
}

/// What is wrong with the metadata, at creation (`old` is `None`) or update.
pub fn validate(resource: &Resource, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    judged(resource, new, old, looks(resource))
}

fn judged(resource: &Resource, new: &Value, old: Option<&Value>, looks: Looks) -> Vec<FieldError> {
    let path = FieldPath::new("metadata");
    let mut common = labels(new, &path);
    common.extend(annotations(new, &path));
    common.extend(owners(new, &path));
    let Some(old) = old else {
        let mut errors = names_at_creation(resource, new);
        errors.extend(common);
        errors.extend(finalizers(new, &path));
        errors.extend(standard_finalizers(resource, new));
        return errors;
    };
    // Upstream looks at an update from several sides, and its Status names a finding as often.
    let mut change = added_finalizers(new, old);
    change.extend(immutable(new, old));
    change.extend(common.iter().cloned());
    let mut whole = common;
    whole.extend(finalizers(new, &path));
    let mut errors = whole.clone();
    errors.extend(change.iter().cloned());
    errors.extend(change.into_iter().filter(|_| looks.at_change));
    errors.extend(whole.into_iter().filter(|_| looks.at_whole));
    let standard = standard_finalizers(resource, new);
    errors.extend(standard.iter().filter(|_| looks.at_whole).cloned());
    errors.extend(standard);
    errors
}

fn names_at_creation(resource: &Resource, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (name, namespace) = (meta::name(new), meta::namespace(new));
    let base = meta::generate_name(new);
    if !base.is_empty() {
        // What follows is appended: a name may not end in a dash, but its beginning may.
        let masked = match base.strip_suffix('-') {
            Some(kept) if !kept.is_empty() => format!("{kept}a"),
            _ => base.to_owned(),
        };
        for problem in resource.strategy.name_problems(&masked) {
            errors.push(FieldError::invalid("metadata.generateName", base, problem));
        }
    }
    if name.is_empty() {
        let detail = "name or generateName is required";
        errors.push(FieldError::required("metadata.name", detail));
    } else {
        for problem in resource.strategy.name_problems(name) {
            errors.push(FieldError::invalid("metadata.name", name, problem));
        }
    }
    if !resource.namespaced && !namespace.is_empty() {
        errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
    } else if resource.namespaced && namespace.is_empty() {
        errors.push(FieldError::required("metadata.namespace", ""));
    } else if resource.namespaced {
        for problem in names::dns1123_label(namespace) {
            errors.push(FieldError::invalid("metadata.namespace", namespace, problem));
        }
    }
    errors
}

fn immutable(new: &Value, old: &Value) -> Vec<FieldError> {
    const FIELDS: [&str; 6] = [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    let (is, was) = (&new["metadata"], &old["metadata"]);
    let moved = FIELDS.iter().filter(|field| is[**field] != was[**field]);
    let finding = |field: &&str| {
        FieldError::invalid(format!("metadata.{field}"), is[*field].clone(), "field is immutable")
    };
    moved.map(finding).collect()
}

/// Who is to be waited for is settled when a deletion begins.
fn added_finalizers(new: &Value, old: &Value) -> Vec<FieldError> {
    if !meta::is_terminating(old) {
        return Vec::new();
    }
    let was = meta::finalizers(old);
    let added: Vec<String> = meta::finalizers(new)
        .into_iter()
        .filter(|name| !was.contains(name))
        .map(|name| format!("{name:?}"))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", detail)]
}

/// What is wrong with `labels` below a metadata object's path; `object` holds that `metadata`.
pub fn labels(object: &Value, path: &FieldPath) -> Vec<FieldError> {
    let path = path.child("labels");
    label_map(&object["metadata"]["labels"], &path)
}

/// What is wrong with a map of labels.
pub fn label_map(labels: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        for problem in names::qualified_name(key) {
            errors.push(FieldError::invalid(path.clone(), key.as_str(), problem));
        }
        for problem in names::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(path.clone(), value.clone(), problem));
        }
    }
    errors
}

/// What is wrong with `annotations` below a metadata object's path.
pub fn annotations(object: &Value, path: &FieldPath) -> Vec<FieldError> {
    let path = path.child("annotations");
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        // Keys may have upper-case prefixes here, unlike those of labels.
        for problem in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path.clone(), key.as_str(), problem));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

/// What is wrong with the metadata of an object within an object: its names need not be there, and only fit into a path.
pub(crate) fn embedded(object: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let base = meta::generate_name(object);
    // Its end comes later, and may make it fit.
    let of_base: Vec<String> =
        if base.contains(['/', '%']) { names::path_segment(base) } else { Vec::new() };
    let of_name = names::path_segment(meta::name(object));
    for (field, text, problems) in
        [("generateName", base, of_base), ("name", meta::name(object), of_name)]
    {
        let place = path.child(field);
        errors.extend(problems.into_iter().map(|it| FieldError::invalid(place.clone(), text, it)));
    }
    let namespace = meta::namespace(object);
    if !namespace.is_empty() {
        let place = path.child("namespace");
        let problems = names::dns1123_label(namespace).into_iter();
        errors.extend(problems.map(|it| FieldError::invalid(place.clone(), namespace, it)));
    }
    let generation = meta::generation(object);
    if generation < 0 {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(path.child("generation"), generation, detail));
    }
    errors.extend(labels(object, path));
    errors.extend(annotations(object, path));
    errors.extend(owners(object, path));
    errors.extend(finalizers(object, path));
    errors
}

fn owners(object: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = path.child("ownerReferences");
    let mut controllers = Vec::new();
    for (index, owner) in meta::owner_references(object).iter().enumerate() {
        for (field, text, detail) in [
            ("apiVersion", &owner.api_version, "version must not be empty"),
            ("kind", &owner.kind, "must not be empty"),
            ("name", &owner.name, "must not be empty"),
            ("uid", &owner.uid, "must not be empty"),
        ] {
            if text.is_empty() {
                errors.push(FieldError::invalid(path.child(field), "", detail));
            }
        }
        if (&*owner.api_version, &*owner.kind) == ("v1", "Event") {
            let value = object["metadata"]["ownerReferences"][index].clone();
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path.clone(), value, detail));
        }
        if owner.is_controller {
            controllers.push(format!("{}/{}", owner.kind, owner.name));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.push(FieldError::invalid(
            path,
            object["metadata"]["ownerReferences"].clone(),
            detail,
        ));
    }
    errors
}

fn finalizers(object: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = path.child("finalizers");
    let names_found = meta::finalizers(object);
    for name in &names_found {
        for problem in names::qualified_name(name) {
            errors.push(FieldError::invalid(path.clone(), *name, problem));
        }
    }
    if names_found.contains(&"orphan") && names_found.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, names_found, detail));
    }
    errors
}

/// What there is to say of the finalizers that an object of a defined kind gets: others might take them for theirs.
pub(crate) fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let had = old.map(meta::finalizers).unwrap_or_default();
    let mut added = meta::finalizers(new);
    added.retain(|name| !had.contains(name));
    added.sort_unstable();
    added.dedup();
    let of_one = |name: &str| {
        let mut problems = names::qualified_name(name);
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            problems.push(format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
        problems
            .into_iter()
            .map(|it| format!("metadata.finalizers: {name:?}: {it}"))
            .collect::<Vec<_>>()
    };
    added.into_iter().flat_map(of_one).collect()
}

/// Names of built-in kinds' finalizers: with a domain, or known.
fn standard_finalizers(resource: &Resource, object: &Value) -> Vec<FieldError> {
    if resource.custom.is_some() || FREE_GROUPS.contains(&&*resource.group) {
        return Vec::new();
    }
    let path = FieldPath::new("metadata.finalizers");
    let names = meta::finalizers(object).into_iter().enumerate();
    let strange =
        names.filter(|(_, name)| !name.contains('/') && !STANDARD_FINALIZERS.contains(name));
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    strange.map(|(index, name)| FieldError::invalid(path.index(index), name, detail)).collect()
}

/// What is wrong with a name in `spec.finalizers` of a namespace.
pub(crate) fn finalizer(name: &str) -> Vec<FieldError> {
    let mut problems = names::qualified_name(name);
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        problems
            .push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
    }
    let finding = |problem| FieldError::invalid("spec.finalizers", name, problem);
    problems.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(new: &Value, old: &Value) -> Vec<String> {
        let all = crate::list::builtin();
        let resource = all.iter().find(|it| it.group.is_empty() && it.plural == "configmaps");
        let found = validate(resource.expect("there are config maps"), new, Some(old));
        found.iter().map(ToString::to_string).collect()
    }

    /// As often as kube-apiserver 1.36.3 names them in `Status.details.causes`.
    #[test]
    fn findings_of_an_update_are_named_as_often_as_upstream_does() {
        let old = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}});
        let with = |field: &str, value: Value| {
            let mut new = old.clone();
            new["metadata"][field] = value;
            new
        };
        let uid = r#"metadata.uid: Invalid value: "zzz": field is immutable"#;
        assert_eq!(findings(&with("uid", "zzz".into()), &old), [uid, uid]);
        assert_eq!(findings(&with("labels", json!({"a b": "c"})), &old).len(), 4);
        let all = crate::list::builtin();
        #[rustfmt::skip]
        let cases = [("secrets", 4, 3), ("services", 3, 3), ("limitranges", 3, 3), ("poddisruptionbudgets", 2, 2),
            ("clusterroles", 4, 3), ("cronjobs", 3, 2), ("deviceclasses", 4, 3), ("certificatesigningrequests", 4, 4)];
        for (plural, whole, part) in cases {
            let resource = all.iter().find(|it| it.plural == plural).expect("the kind is there");
            let new = with("labels", json!({"a b": "c"}));
            assert_eq!(validate(resource, &new, Some(&old)).len(), whole, "{plural}");
            assert_eq!(validate_part(resource, &new, &old).len(), part, "{plural}");
        }
        let plain = r#"metadata.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified"#;
        assert_eq!(findings(&with("finalizers", json!(["x"])), &old), [plain, plain]);

        let dying = with("deletionTimestamp", "2026-01-01T00:00:00Z".into());
        let mut held = dying.clone();
        held["metadata"]["finalizers"] = json!(["d.e/f"]);
        let added = r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"d.e/f"}"#;
        assert_eq!(findings(&held, &dying), [added, added]);
    }
}
