//! What a DaemonSet's template has been, as `ControllerRevision` objects: what a roll-back goes back to.
//!
//! # Invariants
//! - The template that is wanted has a revision, and none has a greater number.
//! - A revision that a pod runs is kept, however many there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::core::ObjectMeta;
use master_client::pod::Pod;
use serde_json::{Value, json};

use super::{HASH, hash_of};
use crate::context::Cx;
use crate::error::{Error, Forgive};
use crate::owner::{label, name_of, reference_to};

/// How many revisions are kept that no pod runs.
const LIMIT: i32 = 10;

type Revisions = [Arc<ControllerRevision>];

/// The hash of the revision that the set's template is; noted in the API if it is new. `None` if another template has
/// the name: that is counted in the status, whose change brings the set here again.
pub(super) async fn current(cx: &Cx, set: &DaemonSet) -> Result<Option<String>, Error> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let known = cx.informers.controller_revisions.owned_by(uid);
    let newest = known.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let data = snapshot(set);
    if let Some(found) = same(&known, &data) {
        if found.revision < newest {
            let patch = json!({ "revision": newest + 1 });
            cx.merge(&**found, "", &patch).await.or_gone()?;
        }
        return Ok(Some(label(&found.metadata, HASH).unwrap_or_default().to_owned()));
    }
    let hash = hash_of(set);
    let template = set.spec.clone().unwrap_or_default().template;
    let mut labels = template.metadata.and_then(|meta| meta.labels).unwrap_or_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let made = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(&set.metadata))),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![reference_to(set)]),
            ..ObjectMeta::default()
        },
        revision: newest + 1,
        data: Some(RawExtension(data)),
    };
    match cx.create(&made).await {
        Ok(_) => Ok(Some(hash)),
        Err(error) if error.is_already_exists() => {
            let status = set.status.clone().unwrap_or_default();
            let collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            let status = DaemonSetStatus { collision_count, ..status };
            let changed = DaemonSet { status: Some(status), ..set.clone() };
            cx.replace_status(&changed).await.or_gone()?;
            Ok(None)
        }
        Err(error) if error.is_namespace_terminating() => Ok(Some(hash)),
        Err(error) => Err(error),
    }
}

/// Deletes revisions that nothing needs.
pub(super) async fn clean(
    cx: &Cx,
    set: &DaemonSet,
    current: &str,
    pods: &[Arc<Pod>],
) -> Result<(), Error> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let known = cx.informers.controller_revisions.owned_by(uid);
    let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(LIMIT);
    let hashes = pods.iter().filter_map(|pod| label(&pod.metadata, HASH));
    let needed: BTreeSet<&str> = hashes.chain([current]).collect();
    for revision in surplus(&known, &needed, usize::try_from(limit).unwrap_or(0)) {
        cx.delete(&*revision).await.or_gone()?;
    }
    Ok(())
}

/// The template as a patch of the set, which is how a roll-back applies it.
fn snapshot(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The newest revision with this template.
fn same<'a>(known: &'a Revisions, data: &Value) -> Option<&'a Arc<ControllerRevision>> {
    let equal = known.iter().filter(|it| it.data.as_ref().is_some_and(|found| found.0 == *data));
    equal.max_by_key(|revision| revision.revision)
}

/// The oldest of those that nothing needs, beyond the limit.
fn surplus(
    known: &Revisions,
    needed: &BTreeSet<&str>,
    limit: usize,
) -> Vec<Arc<ControllerRevision>> {
    let is_needed = |it: &ControllerRevision| {
        label(&it.metadata, HASH).is_some_and(|hash| needed.contains(hash))
    };
    let mut idle: Vec<_> = known.iter().filter(|it| !is_needed(it)).cloned().collect();
    idle.sort_by_key(|revision| revision.revision);
    idle.truncate(idle.len().saturating_sub(limit));
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    fn revisions(sketch: &[(&str, i64)]) -> Vec<Arc<ControllerRevision>> {
        let revision = |(hash, number): &(&str, i64)| {
            let data =
                json!({"spec": {"template": {"of": hash.chars().next().unwrap_or_default()}}});
            Arc::new(object(json!({"metadata": {"name": hash, "labels": {HASH: hash}},
                "revision": number, "data": data})))
        };
        sketch.iter().map(revision).collect()
    }

    #[test]
    fn the_oldest_go_that_no_pod_runs() {
        let known = revisions(&[("a", 1), ("c", 3), ("b", 2), ("d", 4)]);
        let gone = |needed: &[&str], limit| {
            let going = surplus(&known, &needed.iter().copied().collect(), limit);
            going.iter().map(|it| name_of(&it.metadata).to_owned()).collect::<String>()
        };
        assert_eq!(gone(&["d"], 10), "");
        assert_eq!(gone(&["d"], 1), "ab");
        assert_eq!(gone(&["d", "a"], 1), "b");
        assert_eq!(gone(&["d"], 0), "abc");
    }

    #[test]
    fn a_template_is_found_again_by_what_it_says() {
        let known = revisions(&[("a1", 1), ("b", 3), ("a2", 2)]);
        let found = same(&known, &json!({"spec": {"template": {"of": "a"}}})).unwrap();
        assert_eq!(name_of(&found.metadata), "a2");
        assert!(same(&known, &json!({"spec": {"template": {"of": "c"}}})).is_none());
    }
}
