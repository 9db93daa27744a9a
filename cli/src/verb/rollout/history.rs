//! Earlier revisions of a workload: a deployment's replica sets, the others' controller revisions.

use serde_json::{Value, json};

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::describe;
use crate::error::{Result, said};
use crate::flags::Change;
use crate::object::{self, items, selector_query, text};
use crate::outln;
use crate::patch;
use crate::print::tabs::Tabs;
use crate::term;

const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A revision, and the object that keeps it.
struct Revision {
    number: i64,
    cause: String,
    template: Value,
}

/// Prints the list, or one revision's template.
pub(super) async fn show(api: &Api, found: &Found, wanted: i64) -> Result {
    let revisions = revisions(api, found).await?;
    if wanted > 0 {
        let revision = revisions.iter().find(|revision| revision.number == wanted);
        let revision = revision
            .ok_or_else(|| said(format!("unable to find the specified revision {wanted}")))?;
        outln!("{} with revision #{wanted}", found.named());
        term::out(&describe::pod::template_text(&revision.template));
        return Ok(());
    }
    outln!("{} ", found.named());
    let mut table = String::from("REVISION\tCHANGE-CAUSE\n");
    for revision in &revisions {
        let cause = if revision.cause.is_empty() { "<none>" } else { &revision.cause };
        table.push_str(&format!("{}\t{}\n", revision.number, term::safe_line(cause)));
    }
    term::out(&Tabs::of_descriptions().lay_out(&table));
    outln!();
    Ok(())
}

/// Puts an earlier template back.
pub(super) async fn undo(api: &Api, found: &Found, to: i64, change: &Change) -> Result {
    if found.object["spec"]["paused"] == true {
        return Err(said(format!(
            "you cannot rollback a paused deployment; resume it first with 'kctl rollout resume {}' and try again",
            found.named()
        )));
    }
    let mut revisions = revisions(api, found).await?;
    let current = revisions.pop();
    let target = if to > 0 {
        let all = revisions.into_iter().chain(current);
        all.into_iter()
            .find(|revision| revision.number == to)
            .ok_or_else(|| said(format!("unable to find specified revision {to} in history")))?
    } else {
        revisions
            .pop()
            .ok_or_else(|| said(format!("no rollout history found for {}", found.named())))?
    };
    let template = without_hash(&target.template);
    if template == without_hash(&found.object["spec"]["template"]) {
        outln!(
            "{} skipped rollback (current template already matches revision {})",
            found.named(),
            target.number
        );
        return Ok(());
    }
    let mut operations =
        vec![json!({ "op": "replace", "path": "/spec/template", "value": template })];
    if found.resource.kind == "Deployment" && !target.cause.is_empty() {
        let mut annotations = found.object["metadata"]["annotations"].clone();
        object::at_mut(&mut annotations, &[CHANGE_CAUSE]).clone_from(&json!(target.cause));
        operations
            .push(json!({ "op": "add", "path": "/metadata/annotations", "value": annotations }));
    }
    if change.is_client_dry_run()? {
        return object::report(change, &found.resource, &found.object, "rolled back");
    }
    let path = with_query(&found.path(), &change.query());
    let changed = api.patch(&path, patch::JSON_PATCH, &json!(operations)).await?;
    object::report(change, &found.resource, &changed, "rolled back")
}

/// All known ones, oldest first.
async fn revisions(api: &Api, found: &Found) -> Result<Vec<Revision>> {
    let kept_by = match found.resource.kind.as_str() {
        "Deployment" => "replicasets.apps",
        "StatefulSet" | "DaemonSet" => "controllerrevisions.apps",
        other => return Err(said(format!("no history viewer has been implemented for {other}"))),
    };
    let resource = api.resource(kept_by).await?;
    let query = selector_query(&found.object["spec"]["selector"]);
    let path =
        with_query(&resource.collection(Some(found.namespace())), &[("labelSelector", query)]);
    let list = api.get(&path).await?;
    let uid = &found.object["metadata"]["uid"];
    let is_ours = |one: &&Value| {
        items(&one["metadata"]["ownerReferences"]).iter().any(|owner| owner["uid"] == *uid)
    };
    let mut revisions: Vec<Revision> =
        items(&list["items"]).iter().filter(is_ours).filter_map(revision).collect();
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

fn revision(keeper: &Value) -> Option<Revision> {
    let annotations = &keeper["metadata"]["annotations"];
    let cause = text(&annotations[CHANGE_CAUSE]).to_owned();
    if let Some(number) = keeper["revision"].as_i64() {
        let template = keeper["data"]["spec"]["template"].clone();
        return Some(Revision { number, cause, template });
    }
    let number = text(&annotations[REVISION]).parse().ok()?;
    Some(Revision { number, cause, template: keeper["spec"]["template"].clone() })
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}
