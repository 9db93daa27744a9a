//! Revisions: which ReplicaSet stands for a template, its hash, and what `kubectl rollout` reads.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::core::ObjectMeta;
use serde_json::Value;

use super::rollout::{max_surge, wanted};
use crate::owner::{annotation, name_of, reference_to};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many pods the deployment wanted when it last scaled the set.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it allowed then, surge included.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Annotations of a deployment that its sets do not get.
const OWN: [&str; 6] = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX, ROLLBACK_TO];
const HASH: &str = "pod-template-hash";
const HISTORY_CHARS_MAX: usize = 2000;
/// Letters and digits that form no words.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether the set was made from the deployment's template.
pub(super) fn same_template(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let of_set = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let of_deployment = deployment.spec.as_ref().map(|spec| &spec.template);
    of_set.map(canonical) == of_deployment.map(canonical)
}

/// A template without its hash label, and without what is empty.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A short name of the template: FNV-1a (32 bits) of its canonical JSON and the collision count.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes = canonical(template).to_string().into_bytes();
    if let Some(collisions) = collisions {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let safe = |digit: u8| char::from(SAFE[usize::from(digit) % SAFE.len()]);
    hash.to_string().bytes().map(safe).collect()
}

/// The set of a template that has none yet; without pods, annotations and revision.
pub(super) fn new_set(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let name = name_of(&deployment.metadata);
    let room = 253 - 1 - hash.len();
    let name = name.get(..room).unwrap_or(name);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![reference_to(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// A set's revision; 0 if it has none.
pub(super) fn revision_of(set: &ReplicaSet) -> i64 {
    annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Gives the newest set its revision and the deployment's annotations. A set that gets a higher
/// revision again (an undo) remembers the one it had.
pub(super) fn annotate(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => Some(0),
        Some(text) => text.parse::<i64>().ok(),
    };
    if old_number.is_none_or(|old| old >= revision) {
        return;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    if let Some(old) = old.filter(|old| !old.is_empty()) {
        let history = annotations.get(REVISION_HISTORY).map_or("", String::as_str);
        let history = with_history(history, &old);
        annotations.insert(REVISION_HISTORY.to_owned(), history);
    }
}

/// `history,old`, without its oldest parts if that gets too long.
fn with_history(history: &str, old: &str) -> String {
    let mut parts: Vec<&str> = history.split(',').filter(|part| !part.is_empty()).collect();
    parts.push(old);
    let mut text = parts.join(",");
    while text.len() > HISTORY_CHARS_MAX
        && let Some((_, rest)) = text.split_once(',')
    {
        text = rest.to_owned();
    }
    text
}

/// Notes on a set how many pods the deployment wants and allows. Whether that was news.
pub(super) fn note_size(set: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let desired = wanted(deployment).to_string();
    let max = (wanted(deployment) + max_surge(deployment)).to_string();
    let annotations = set.metadata.annotations.get_or_insert_default();
    let before = annotations.insert(DESIRED.to_owned(), desired.clone());
    let before_max = annotations.insert(MAX.to_owned(), max.clone());
    before != Some(desired) || before_max != Some(max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    fn template(labels: Value, image: &str) -> PodTemplateSpec {
        object(json!({"metadata": {"labels": labels, "creationTimestamp": null},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
    }

    #[test]
    fn hash_is_of_the_template_alone_and_moves_on_a_collision() {
        let plain = template(json!({"app": "web"}), "web:1");
        let hashed = template(json!({"app": "web", HASH: "x"}), "web:1");
        let other = template(json!({"app": "web"}), "web:2");
        assert_eq!(template_hash(&plain, None), template_hash(&hashed, None));
        assert_ne!(template_hash(&plain, None), template_hash(&other, None));
        assert_ne!(template_hash(&plain, None), template_hash(&plain, Some(1)));
        assert!(template_hash(&plain, None).bytes().all(|byte| SAFE.contains(&byte)));
    }

    #[test]
    fn undo_remembers_the_revision_a_set_had() {
        let deployment: Deployment = object(json!({"metadata": {"annotations": {
            REVISION: "9", "note": "kept", LAST_APPLIED: "{}"}}}));
        let mut set = ReplicaSet::default();
        for revision in [1, 1, 3, 2, 5] {
            annotate(&mut set, &deployment, revision);
        }
        let annotations = set.metadata.annotations.unwrap();
        assert_eq!(annotations[REVISION], "5");
        assert_eq!(annotations[REVISION_HISTORY], "1,3");
        assert_eq!(annotations["note"], "kept");
        assert!(!annotations.contains_key(LAST_APPLIED));
        assert!(with_history(&"12345,".repeat(400), "7").len() <= HISTORY_CHARS_MAX);
    }
}
