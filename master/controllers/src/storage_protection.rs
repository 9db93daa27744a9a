//! Lets claims, volumes and classes of volume attributes that are being deleted go once nothing uses them.
//!
//! Their finalizers are there from their creation (admission's `storage_object_in_use`); who was made before that
//! gets one here.
//!
//! Watches: `PersistentVolumeClaim`, `PersistentVolume`, `VolumeAttributesClass`, `Pod`. Writes: the finalizers of
//! the first three.
//!
//! # Invariants
//! - A claim goes only after a look at the pods of its namespace as the store has them, a class after one at all claims
//!   and volumes: the copies of two kinds do not come at the same moment.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ListParams};
use kube::core::ObjectMeta;
use serde::Serialize;
use store_env::task::Group;
use tokio::time::timeout;

use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::informers::Known;
use crate::owner::{controller_of, is_terminating, name_of, namespace_of};
use crate::pods::node_of;
use master_client::pod::Pod;

const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const OF_CLASSES: &str = "kubernetes.io/vac-protection";

/// Starts the three controllers.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let claims = cx.informers.claims.clone();
    Controller::new("pvc-protection-controller", cx, group)
        .of(&cx.informers.claims)
        .watches(&cx.informers.pods, move |pod| {
            let mut named = claims_of(pod);
            named
                .retain(|key| claims.get(key).is_some_and(|claim| is_terminating(&claim.metadata)));
            named
        })
        .run(2, reconcile_claim);
    Controller::new("pv-protection-controller", cx, group)
        .of(&cx.informers.volumes)
        .run(1, reconcile_volume);
    Controller::new("volumeattributesclass-protection-controller", cx, group)
        .of(&cx.informers.attributes_classes)
        .watches(&cx.informers.claims, classes_of_claim)
        .watches(&cx.informers.volumes, classes_of_volume)
        .run(1, reconcile_class);
}

async fn reconcile_claim(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(claim) = cx.informers.claims.get(&key) else { return Ok(Requeue::OnChange) };
    let namespace = namespace_of(&claim.metadata);
    let is_used = || cx.informers.pods.list_in(namespace).iter().any(|pod| uses(pod, &claim));
    let plan = plan(&claim.metadata, OF_CLAIMS, is_used);
    if plan.is_some() && is_terminating(&claim.metadata) {
        let pods = live::<Pod>(Api::namespaced(cx.client.clone(), namespace)).await?;
        if pods.iter().any(|pod| uses(pod, &claim)) {
            return Ok(Requeue::OnChange);
        }
    }
    carry_out(&cx, &*claim, plan).await
}

async fn reconcile_volume(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(volume) = cx.informers.volumes.get(&key) else { return Ok(Requeue::OnChange) };
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let plan = plan(&volume.metadata, OF_VOLUMES, || phase == Some("Bound"));
    carry_out(&cx, &*volume, plan).await
}

async fn reconcile_class(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(class) = cx.informers.attributes_classes.get(&key) else {
        return Ok(Requeue::OnChange);
    };
    let is_used = || {
        let (claims, volumes) = (cx.informers.claims.list(), cx.informers.volumes.list());
        claims.iter().any(|claim| classes_of_claim(claim).contains(&key))
            || volumes.iter().any(|volume| classes_of_volume(volume).contains(&key))
    };
    let plan = plan(&class.metadata, OF_CLASSES, is_used);
    if plan.is_some() && is_terminating(&class.metadata) {
        let claims = live::<PersistentVolumeClaim>(Api::all(cx.client.clone())).await?;
        let volumes = live::<PersistentVolume>(Api::all(cx.client.clone())).await?;
        let mut used = claims.iter().flat_map(classes_of_claim);
        if used.any(|it| it == key)
            || volumes.iter().flat_map(classes_of_volume).any(|it| it == key)
        {
            return Ok(Requeue::OnChange);
        }
    }
    carry_out(&cx, &*class, plan).await
}

/// All objects as the store has them now.
async fn live<K>(api: Api<K>) -> Result<Vec<K>, Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let everything = ListParams::default();
    let listed = timeout(RPC_DEADLINE, api.list(&everything)).await;
    Ok(listed.map_err(|_| Error::TooLate("list"))??.items)
}

/// The finalizers that an object is to have in place of those it has; `None` if they are right.
fn plan(
    object: &ObjectMeta,
    finalizer: &str,
    is_used: impl FnOnce() -> bool,
) -> Option<Vec<String>> {
    let mut finalizers = object.finalizers.clone().unwrap_or_default();
    let is_held = finalizers.iter().any(|known| known == finalizer);
    match (is_terminating(object), is_held) {
        (false, false) => finalizers.push(finalizer.to_owned()),
        (true, true) if !is_used() => finalizers.retain(|known| known != finalizer),
        _ => return None,
    }
    Some(finalizers)
}

async fn carry_out<K: Known + Serialize>(
    cx: &Cx,
    object: &K,
    plan: Option<Vec<String>>,
) -> Result<Requeue, Error> {
    if let Some(finalizers) = plan {
        let mut object = object.clone();
        object.meta_mut().finalizers = Some(finalizers);
        cx.replace(&object).await.or_gone()?;
    }
    Ok(Requeue::OnChange)
}

/// The keys of the claims that a pod names.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let names = volumes.into_iter().flatten().filter_map(|volume| {
        let own = volume.ephemeral.as_ref().map(|_| own_claim(pod, &volume.name));
        volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone()).or(own)
    });
    names.map(|name| format!("{}/{name}", namespace_of(&pod.metadata))).collect()
}

/// The name of the claim that is made for a pod's ephemeral volume.
fn own_claim(pod: &Pod, volume: &str) -> String {
    format!("{}-{volume}", name_of(&pod.metadata))
}

/// Whether a pod on a node has the claim. One that the kubelet is done with still has what it named, and no longer
/// what was made for it: else each could wait for the other to go.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let (name, meta) = (name_of(&claim.metadata), &pod.metadata);
    let is_shut_down = is_terminating(meta) && meta.deletion_grace_period_seconds == Some(0);
    let owner = controller_of(&claim.metadata).map(|owner| &owner.uid);
    let is_for_pod = owner.is_some() && owner == meta.uid.as_ref();
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    node_of(pod).is_some()
        && volumes.into_iter().flatten().any(|volume| {
            let named = volume.persistent_volume_claim.as_ref();
            named.is_some_and(|named| named.claim_name == name)
                || (volume.ephemeral.is_some()
                    && !is_shut_down
                    && is_for_pod
                    && own_claim(pod, &volume.name) == name)
        })
}

/// The classes that a claim asks for, has, or is on its way to.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let modified = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = modified.and_then(|status| status.target_volume_attributes_class_name.clone());
    [wanted, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

fn classes_of_volume(volume: &PersistentVolume) -> Vec<String> {
    let name = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    name.into_iter().filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{object, time};

    #[test]
    fn who_stays_is_held_and_who_goes_is_held_while_used() {
        let check =
            |finalizers: &[&str], is_going: bool, is_used: bool, expected: Option<&[&str]>| {
                let going = is_going.then(|| time(1));
                let meta = object(json!({"finalizers": finalizers, "deletionTimestamp": going}));
                let expected: Option<Vec<String>> =
                    expected.map(|names| names.iter().map(ToString::to_string).collect());
                assert_eq!(
                    plan(&meta, "p", || is_used),
                    expected,
                    "{finalizers:?} {is_going} {is_used}"
                );
            };
        check(&[], false, false, Some(&["p"]));
        check(&["a"], false, true, Some(&["a", "p"]));
        check(&["p"], false, false, None);
        check(&["a", "p"], true, false, Some(&["a"]));
        check(&["p"], true, true, None);
        check(&["a"], true, false, None);
    }

    #[test]
    fn pods_on_nodes_use_what_they_name_and_what_was_made_for_them() {
        let claim = |name: &str, owner: &str| -> PersistentVolumeClaim {
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true});
            object(json!({"metadata": {"name": name, "ownerReferences": [owner]}}))
        };
        let pod = |node: Value, meta: Value| -> Pod {
            let mut pod = json!({"metadata": {"name": "p", "namespace": "a", "uid": "1"},
                "spec": {"containers": [], "nodeName": node, "volumes": [
                    {"name": "named", "persistentVolumeClaim": {"claimName": "c"}},
                    {"name": "own", "ephemeral": {}}]}});
            pod["metadata"].as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
            object(pod)
        };
        let running = pod(json!("n"), json!({}));
        let leaving =
            pod(json!("n"), json!({"deletionTimestamp": time(1), "deletionGracePeriodSeconds": 0}));
        assert_eq!(claims_of(&running), ["a/c", "a/p-own"]);
        #[rustfmt::skip]
        let cases = [
            (&running,                     claim("c", "2"),     true),
            (&running,                     claim("other", "2"), false),
            (&running,                     claim("p-own", "1"), true),
            (&running,                     claim("p-own", "2"), false),
            (&leaving,                     claim("c", "2"),     true),
            (&leaving,                     claim("p-own", "1"), false),
            (&pod(Value::Null, json!({})), claim("c", "2"),     false),
        ];
        for (pod, claim, expected) in cases {
            assert_eq!(uses(pod, &claim), expected, "{:?} {:?}", pod.metadata, claim.metadata);
        }
    }

    #[test]
    fn classes_are_used_by_who_has_wants_or_is_to_have_them() {
        let claim: PersistentVolumeClaim = object(json!({
            "spec": {"volumeAttributesClassName": "wanted"},
            "status": {"currentVolumeAttributesClassName": "had", "modifyVolumeStatus":
                {"status": "InProgress", "targetVolumeAttributesClassName": "target"}}}));
        assert_eq!(classes_of_claim(&claim), ["wanted", "had", "target"]);
        let volume: PersistentVolume = object(json!({"spec": {"volumeAttributesClassName": "v"}}));
        assert_eq!(classes_of_volume(&volume), ["v"]);
    }
}
