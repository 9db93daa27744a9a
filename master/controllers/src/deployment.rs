//! Rolls a Deployment's template out over ReplicaSets: one per revision, the newest grows while the
//! others shrink.
//!
//! Watches: `Deployment`; `ReplicaSet`, through its owner or by labels; `Pod` (for Recreate).
//! Writes: `ReplicaSet`, the deployment's revision annotation and status.

mod conditions;
mod plan;
mod revision;
mod rollout;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use kube::core::ObjectMeta;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use serde_json::json;
use store_env::task::Group;

use self::plan::{Step, View, plan};
pub(crate) use self::revision::template_hash;
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{
    claim_all, controller_key, controller_of, is_terminating, name_of, namespace_of, selector_of,
    selects,
};
use crate::pods;

/// Starts the controller of Deployments.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let informers = &cx.informers;
    let deployments = informers.deployments.clone();
    let (sets, rolled) = (informers.replica_sets.clone(), informers.deployments.clone());
    Controller::new("deployment-controller", cx, group)
        .of(&informers.deployments)
        .watches(&informers.replica_sets, move |set| owners(&deployments, &set.metadata))
        .watches(&informers.pods, move |pod| recreated(&sets, &rolled, pod).into_iter().collect())
        .run(5, reconcile);
}

/// The deployment that controls the set; for an orphan, every one that would take it.
fn owners(deployments: &Store<Deployment>, set: &ObjectMeta) -> Vec<String> {
    if controller_of(set).is_some() {
        return controller_key(set, "Deployment").into_iter().collect();
    }
    let wants = |deployment: &Deployment| {
        let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
        selector_of(selector).is_some_and(|selector| selects(&selector, set))
    };
    let all = deployments.list_in(namespace_of(set)).into_iter();
    all.filter(|deployment| wants(deployment)).map(|deployment| key_of(&*deployment)).collect()
}

/// A Recreate deployment waits for its old pods to be gone.
fn recreated(
    sets: &Store<ReplicaSet>,
    deployments: &Store<Deployment>,
    pod: &Pod,
) -> Option<String> {
    let set = sets.get(&controller_key(&pod.metadata, "ReplicaSet")?)?;
    let key = controller_key(&set.metadata, "Deployment")?;
    let deployment = deployments.get(&key)?;
    let strategy = deployment.spec.as_ref()?.strategy.as_ref()?.type_.as_deref();
    (strategy == Some("Recreate")).then_some(key)
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(deployment) = cx.informers.deployments.get(&key) else {
        return Ok(Requeue::OnChange);
    };
    let selector = selector_of(deployment.spec.as_ref().map(|spec| &spec.selector));
    let Some(selector) = selector.filter(|selector| !selector.is_everything()) else {
        let text = "This deployment is selecting all pods. A non-empty selector is required.";
        cx.events.warning(&*deployment, "SelectingAll", text);
        return Ok(Requeue::OnChange);
    };
    let sets = claim_all(&cx, &*deployment, &selector, &cx.informers.replica_sets).await?;
    let is_running = |set: &ReplicaSet| {
        let pods = cx.informers.pods.owned_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.iter().any(|pod| !pods::is_terminal(pod))
    };
    let running: BTreeMap<String, bool> =
        sets.iter().map(|set| (name_of(&set.metadata).to_owned(), is_running(set))).collect();
    let sets = sets.iter().map(|set| (**set).clone()).collect();
    let plan = plan(View { deployment: &deployment, sets, running, now: cx.now_s() });
    let mut latest = (*deployment).clone();
    for step in plan.steps {
        act(&cx, &mut latest, step).await?;
    }
    Ok(plan.requeue)
}

async fn act(cx: &Cx, deployment: &mut Deployment, step: Step) -> Result<(), Error> {
    match step {
        Step::Create(set) => return create(cx, deployment, set).await,
        Step::Write { set, from } => {
            let to = rollout::replicas(&set);
            cx.replace(&set).await?;
            if from != to {
                scaled(cx, deployment, name_of(&set.metadata), from, to);
            }
        }
        Step::Delete(set) => cx.delete(&set).await.or_gone()?,
        Step::Revision(revision) => {
            let annotations = json!({(revision::REVISION): revision});
            let patch = json!({"metadata": {"annotations": annotations}});
            // With the status, as upstream does: by itself it would be a new generation.
            *deployment = cx.merge(deployment, "status", patch).await?;
        }
        Step::Status(status) => {
            deployment.status = Some(status);
            *deployment = cx.replace_status(deployment).await?;
        }
    }
    Ok(())
}

fn scaled(cx: &Cx, deployment: &Deployment, set: &str, from: i32, to: i32) {
    let direction = if from < to { "up" } else { "down" };
    let text = format!("Scaled {direction} replica set {set} from {from} to {to}");
    cx.events.normal(deployment, "ScalingReplicaSet", text);
}

/// Creates the new set. Its name follows from the template: if it is taken by another template, the
/// hash collides, and a count that goes into the hash is raised.
async fn create(cx: &Cx, deployment: &mut Deployment, set: ReplicaSet) -> Result<(), Error> {
    let name = name_of(&set.metadata).to_owned();
    let error = match cx.create(&set).await {
        Ok(_) => {
            let replicas = rollout::replicas(&set);
            if replicas > 0 {
                scaled(cx, deployment, &name, 0, replicas);
            }
            return Ok(());
        }
        Err(error) => error,
    };
    let mut status = deployment.status.clone().unwrap_or_default();
    if error.is_already_exists() {
        let known = cx.informers.replica_sets.get(&key_of(&set));
        let is_ours = known.is_some_and(|known| {
            let owner = controller_of(&known.metadata).map(|owner| &owner.uid);
            owner == deployment.metadata.uid.as_ref() && revision::same_template(&known, deployment)
        });
        if !is_ours {
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            write_status(cx, deployment, status).await?;
        }
    } else if !error.is_namespace_terminating() && !is_terminating(&deployment.metadata) {
        let text = format!("Failed to create new replica set \"{name}\": {}", error.message());
        cx.events.warning(deployment, "ReplicaSetCreateError", &*text);
        if plan::progress_deadline_s(deployment).is_some() {
            let condition: DeploymentCondition = conditions::new(
                conditions::PROGRESSING,
                "False",
                "ReplicaSetCreateError",
                text,
                &cx.now_s(),
            );
            conditions::set(&mut status, condition);
            write_status(cx, deployment, status).await?;
        }
    }
    Err(error)
}

async fn write_status(
    cx: &Cx,
    deployment: &mut Deployment,
    status: DeploymentStatus,
) -> Result<(), Error> {
    if deployment.status.as_ref() != Some(&status) {
        deployment.status = Some(status);
        *deployment = cx.replace_status(deployment).await?;
    }
    Ok(())
}
