//! Takes a definition's objects away before the definition itself goes, and lets names that became free
//! be taken by those who wait for them.
//!
//! Accepting names and establishing happen in the write of a definition (`master/registry/src/apiextensions`);
//! what is left for a controller is what takes time.
//!
//! Watches: the metadata of `CustomResourceDefinition`. Writes: deletes custom objects, removes the finalizer
//! `customresourcecleanup.apiextensions.k8s.io`, touches definitions whose names were refused.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use master_client::informer::{Informer, ListWatch, Store};
use serde_json::{Value, json};
use store_env::task::Group;
use tokio::time::timeout;

use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::is_terminating;

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How soon to look again at a definition whose objects are still going.
const AGAIN: Duration = Duration::from_millis(300);
/// How often names that were refused are asked for again.
const REFUSED: Duration = Duration::from_secs(2);

/// A definition, of which only the metadata is kept: schemas are large.
pub(crate) type Definition = PartialObjectMeta<CustomResourceDefinition>;

/// Follows the definitions; other controllers read the same store.
pub(crate) fn follow(cx: &Cx, group: &mut Group) -> Store<Definition> {
    let (store, informer) = Informer::new(Api::all(cx.client.clone()), ListWatch::all());
    group.spawn("informer of definitions", |stop| informer.run(stop));
    store
}

/// Starts the controller.
pub(crate) fn start(cx: &Cx, definitions: &Store<Definition>, group: &mut Group) {
    let read = definitions.clone();
    Controller::new("custom-resource-controller", cx, group)
        .of(definitions)
        .run(2, move |cx, name| reconcile(cx, read.clone(), name));
}

async fn reconcile(cx: Cx, definitions: Store<Definition>, name: String) -> Result<Requeue, Error> {
    let Some(known) = definitions.get(&name) else { return Ok(Requeue::OnChange) };
    let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &resource_of_definitions());
    let Some(definition) = answered(api.get_opt(&name)).await? else {
        return Ok(Requeue::OnChange);
    };
    let held = definition.metadata.finalizers.clone().unwrap_or_default();
    if !is_terminating(&known.metadata) && !is_terminating(&definition.metadata) {
        return touch(&api, &name, &definition.data).await;
    }
    if !held.iter().any(|finalizer| finalizer == CLEANUP) {
        return Ok(Requeue::OnChange);
    }
    if empty(&cx, &definition.data).await? > 0 {
        return Ok(Requeue::After(AGAIN));
    }
    let left: Vec<&String> = held.iter().filter(|finalizer| *finalizer != CLEANUP).collect();
    let patch = json!({"metadata": {
        "finalizers": left, "resourceVersion": definition.metadata.resource_version}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    answered(api.patch(&name, &params, &patch)).await.or_gone().map(|()| Requeue::OnChange)
}

async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    let answer = timeout(RPC_DEADLINE, request).await;
    Ok(answer.map_err(|_| Error::TooLate("custom resources"))??)
}

fn resource_of_definitions() -> ApiResource {
    ApiResource::erase::<CustomResourceDefinition>(&())
}

/// A definition whose names were refused is judged again when it is written, if by then they are free.
async fn touch(api: &Api<DynamicObject>, name: &str, definition: &Value) -> Result<Requeue, Error> {
    if !has_condition(definition, "NamesAccepted", "False") {
        return Ok(Requeue::OnChange);
    }
    let (params, patch) = (PatchParams::default(), Patch::Merge(json!({})));
    answered(api.patch(name, &params, &patch)).await.or_gone()?;
    Ok(Requeue::After(REFUSED))
}

fn has_condition(definition: &Value, kind: &str, status: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == kind && it["status"] == status)
}

/// The resource that a definition defines, in a version that is served.
fn defined(definition: &Value) -> Option<ApiResource> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array()?;
    let served = versions.iter().filter(|version| version["served"] == true);
    // The stored one needs no conversion.
    let version = served.max_by_key(|version| version["storage"] == true)?;
    let (group, version) = (spec["group"].as_str()?, version["name"].as_str()?);
    Some(ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: spec["names"]["kind"].as_str()?.to_owned(),
        plural: spec["names"]["plural"].as_str()?.to_owned(),
    })
}

/// Deletes the objects of a definition; says how many are left.
async fn empty(cx: &Cx, definition: &Value) -> Result<usize, Error> {
    // What was never served, or is no longer, cannot be reached: nothing can hold the definition.
    let Some(resource) =
        defined(definition).filter(|_| has_condition(definition, "Established", "True"))
    else {
        return Ok(0);
    };
    let all: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(cx.client.clone(), &resource);
    let everything = ListParams::default();
    let found = answered(all.list(&everything)).await?;
    let is_namespaced = definition["spec"]["scope"] == "Namespaced";
    let mut namespaces: Vec<String> =
        found.items.iter().filter_map(|object| object.metadata.namespace.clone()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let params = DeleteParams::background();
    if is_namespaced {
        for namespace in namespaces {
            let api: Api<DynamicObject> =
                Api::namespaced_with(cx.client.clone(), &namespace, &resource);
            drop(answered(api.delete_collection(&params, &everything)).await?);
        }
    } else if !found.items.is_empty() {
        let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &resource);
        drop(answered(api.delete_collection(&params, &everything)).await?);
    }
    Ok(answered(all.list(&everything)).await?.items.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_reached_in_the_stored_version_if_it_is_served() {
        let definition = |served: bool| {
            json!({"spec": {"group": "acme.io", "names": {"kind": "Widget", "plural": "widgets"}, "versions": [
                {"name": "v1", "served": served, "storage": true}, {"name": "v2", "served": true, "storage": false}]}})
        };
        assert_eq!(defined(&definition(true)).unwrap().version, "v1");
        assert_eq!(defined(&definition(false)).unwrap().version, "v2");
    }
}
