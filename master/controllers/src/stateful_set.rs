//! Runs a StatefulSet's pods: each with a number, a name and claims of its own, one after another.
//!
//! Watches: `StatefulSet`; `Pod`, through its owner. Writes: `Pod`, `PersistentVolumeClaim`,
//! `ControllerRevision`, the set's status.
//!
//! # Invariants
//! - Never two pods of one number: a pod's name follows from its number, and names are unique.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{
    self as core, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::core::ObjectMeta;
use master_client::pod::Pod;
use serde_json::json;
use store_env::task::Group;

use self::plan::{Step, plan};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::deployment::template_hash;
use crate::error::{Error, Forgive};
use crate::owner::{claim_all, controller_key, is_terminating, name_of, reference_to, selector_of};
use crate::pods;

const HASH: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("statefulset-controller", cx, group)
        .of(&cx.informers.stateful_sets)
        .watches(&cx.informers.pods, |pod| {
            controller_key(&pod.metadata, "StatefulSet").into_iter().collect()
        })
        .run(5, reconcile);
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(set) = cx.informers.stateful_sets.get(&key) else { return Ok(Requeue::OnChange) };
    let Some(selector) = selector_of(set.spec.as_ref().map(|spec| &spec.selector)) else {
        return Ok(Requeue::OnChange);
    };
    let pods = claim_all(&cx, &*set, &selector, &cx.informers.pods).await?;
    if is_terminating(&set.metadata) {
        return Ok(Requeue::OnChange);
    }
    let update = revision(&cx, &set).await?;
    let (status, steps) = plan(&set, &update, &pods, cx.now());
    for step in steps {
        act(&cx, &set, step).await?;
    }
    if set.status.as_ref() != Some(&status) {
        let changed = StatefulSet { status: Some(status), ..(*set).clone() };
        cx.replace_status(&changed).await.or_gone()?;
    }
    Ok(Requeue::OnChange)
}

/// The name of the revision that the set's template is; noted in the API if it is new.
async fn revision(cx: &Cx, set: &StatefulSet) -> Result<String, Error> {
    let template = set.spec.clone().unwrap_or_default().template;
    let hash = template_hash(&template, set.status.as_ref().and_then(|s| s.collision_count));
    let name = format!("{}-{hash}", name_of(&set.metadata));
    let namespace = set.metadata.namespace.clone();
    let key = format!("{}/{name}", namespace.clone().unwrap_or_default());
    if cx.informers.controller_revisions.get(&key).is_some() {
        return Ok(name);
    }
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let known = cx.informers.controller_revisions.owned_by(uid);
    let newest = known.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let mut data = serde_json::to_value(&template).unwrap_or_default();
    data["$patch"] = json!("replace");
    let made = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace,
            labels: template.metadata.and_then(|meta| meta.labels),
            owner_references: Some(vec![reference_to(set)]),
            ..ObjectMeta::default()
        },
        revision: newest + 1,
        data: Some(RawExtension(json!({"spec": {"template": data}}))),
    };
    match cx.create(&made).await {
        Err(error) if error.is_already_exists() => {}
        result => drop(result?),
    }
    Ok(name)
}

/// The template of an older revision; the set's own if that is not known any more.
fn template_of(cx: &Cx, set: &StatefulSet, revision: &str) -> PodTemplateSpec {
    let own = set.spec.clone().unwrap_or_default().template;
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let found = cx.informers.controller_revisions.get(&format!("{namespace}/{revision}"));
    let data = found.and_then(|found| found.data.clone());
    let template = data.and_then(|data| data.0.pointer("/spec/template").cloned());
    template.and_then(|template| serde_json::from_value(template).ok()).unwrap_or(own)
}

async fn act(cx: &Cx, set: &StatefulSet, step: Step) -> Result<(), Error> {
    match step {
        Step::Create { ordinal, revision } => create(cx, set, ordinal, &revision).await,
        Step::Delete(pod) => {
            cx.delete(&*pod).await.or_gone()?;
            let (name, set_name) = (name_of(&pod.metadata), name_of(&set.metadata));
            let text = format!("delete Pod {name} in StatefulSet {set_name} successful");
            cx.events.normal(set, "SuccessfulDelete", text);
            Ok(())
        }
    }
}

async fn create(cx: &Cx, set: &StatefulSet, ordinal: i32, revision: &str) -> Result<(), Error> {
    let pod = new_pod(set, &template_of(cx, set, revision), ordinal, revision);
    for claim in claims(set, ordinal) {
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        let key = format!("{namespace}/{}", name_of(&claim.metadata));
        if cx.informers.claims.get(&key).is_none() {
            match cx.create(&claim).await {
                Err(error) if error.is_already_exists() => {}
                result => drop(result?),
            }
        }
    }
    let (name, set_name) = (name_of(&pod.metadata).to_owned(), name_of(&set.metadata));
    match cx.create_pod(&pod).await {
        Ok(_) => {
            let text = format!("create Pod {name} in StatefulSet {set_name} successful");
            cx.events.normal(set, "SuccessfulCreate", text);
            Ok(())
        }
        Err(error) if error.is_namespace_terminating() => Ok(()),
        Err(error) => {
            let why = error.message();
            let text = format!("create Pod {name} in StatefulSet {set_name} failed error: {why}");
            cx.events.warning(set, "FailedCreate", text);
            Err(error)
        }
    }
}

fn new_pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    ordinal: i32,
    revision: &str,
) -> core::Pod {
    let name = format!("{}-{ordinal}", name_of(&set.metadata));
    let mut pod = pods::from_template(set, template);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), revision.to_owned());
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    let service = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = service.filter(|service| !service.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    for (template, claim) in claim_templates(set).iter().zip(claims(set, ordinal)) {
        let volume = name_of(&template.metadata);
        volumes.retain(|known| known.name != volume);
        volumes.push(Volume {
            name: volume.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name_of(&claim.metadata).to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    pod
}

fn claim_templates(set: &StatefulSet) -> Vec<PersistentVolumeClaim> {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone()).unwrap_or_default()
}

/// The claims of one pod: `TEMPLATE-SET-NUMBER`. They stay when the pod goes.
fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone());
    let claim = |mut claim: PersistentVolumeClaim| {
        let name = format!("{}-{}-{ordinal}", name_of(&claim.metadata), name_of(&set.metadata));
        claim.metadata.name = Some(name);
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(selector.clone().unwrap_or_default());
        claim.status = None;
        claim
    };
    claim_templates(set).into_iter().map(claim).collect()
}

/// The pods of a set, for the planner.
type Pods = [Arc<Pod>];
