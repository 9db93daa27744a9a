//! Deletes what its owners leave behind.
//!
//! Every object may name owners (by uid). When all of them are gone, it goes too; an owner that is
//! deleted "in the foreground" waits for those that block it; one deleted as "orphan" lets its
//! dependents live.
//!
//! ```text
//!  discovery ─▶ one monitor a kind ─▶ graph (who owns whom) ─▶ queue of uids ─▶ plan ─▶ writes
//! ```
//!
//! Watches: the metadata of every kind that can be deleted. Writes: deletes objects, removes owner
//! references and the finalizers `foregroundDeletion` and `orphan`.
//!
//! # Invariants
//! - An owner counts as gone only after the API server said so, never because it was not seen.

mod feed;
mod graph;
mod monitors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GetParams, Patch, PatchParams, Preconditions,
    PropagationPolicy,
};
use kube::core::{ObjectMeta, PartialObjectMeta};
use master_client::informer::Store;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store_env::task::Group;
use tokio::time::timeout;

use self::graph::{Graph, Node, Plan, Standing, plan};
use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::custom_resources::Definition;
use crate::discovery::Served;
use crate::error::{Error, Forgive};
use crate::queue::Queue;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How soon a key is looked at again while monitors are still listing.
const NOT_YET: Duration = Duration::from_millis(50);
/// Owners known to be gone; uids never come back, so forgetting costs one question.
const GONE_MAX: usize = 10_000;

type Partial = PartialObjectMeta<DynamicObject>;

/// Told of a namespace that an object has left; of none if that is not known.
type OnLeave = dyn Fn(Option<&str>) + Send + Sync;

/// What the monitors know, shared with the workers.
#[derive(Clone)]
struct Shared {
    graph: Arc<Mutex<Graph>>,
    /// Kinds by (apiVersion, kind).
    kinds: Arc<Mutex<BTreeMap<(String, String), Served>>>,
    gone: Arc<Mutex<BTreeSet<String>>>,
    queue: Queue,
    on_leave: Arc<OnLeave>,
}

impl Shared {
    fn kind(&self, api_version: &str, kind: &str) -> Option<Served> {
        let key = (api_version.to_owned(), kind.to_owned());
        let kinds = self.kinds.lock();
        let exact = kinds.get(&key).cloned();
        // Another version of the same group serves the same objects.
        let group =
            |version: &str| version.split_once('/').map_or("", |(group, _)| group).to_owned();
        exact.or_else(|| {
            let same = |(version, name): &&(String, String)| {
                name == kind && group(version) == group(api_version)
            };
            kinds.keys().find(same).and_then(|key| kinds.get(key).cloned())
        })
    }
}

/// Starts the collector. Since it sees objects of every kind go, it tells `on_leave` of their
/// namespaces, or of none if it cannot know which.
pub(crate) fn start(
    cx: &Cx,
    definitions: Store<Definition>,
    group: &mut Group,
    on_leave: impl Fn(Option<&str>) + Send + Sync + 'static,
) {
    let shared = {
        let controller = Controller::new("garbage-collector-controller", cx, group);
        let shared = Shared {
            graph: Arc::default(),
            kinds: Arc::default(),
            gone: Arc::default(),
            queue: controller.queue(),
            on_leave: Arc::new(on_leave),
        };
        let for_workers = shared.clone();
        controller.run(8, move |cx, uid| reconcile(cx, uid, for_workers.clone()));
        shared
    };
    let client = cx.client.clone();
    group.spawn("garbage collector's monitors", |stop| {
        monitors::run(client, shared, definitions, stop)
    });
}

async fn reconcile(cx: Cx, uid: String, shared: Shared) -> Result<Requeue, Error> {
    if !shared.graph.lock().is_synced {
        return Ok(Requeue::After(NOT_YET));
    }
    let Some((node, dependents)) = shared.graph.lock().look_up(&uid) else {
        return Ok(Requeue::OnChange);
    };
    let mut standings = Vec::new();
    if !node.is_deleting {
        for owner in &node.owners {
            standings.push(standing(&cx.client, &node, owner, &shared).await?);
        }
    }
    match plan(&node, &dependents, &standings) {
        Plan::Nothing => {}
        Plan::DeleteFirst(blockers) => {
            blockers.into_iter().for_each(|uid| shared.queue.add(uid));
        }
        Plan::Delete(policy) => delete(&cx.client, &node, policy).await?,
        Plan::DropOwners(uids) => drop_owners(&cx.client, &node, &uids).await?,
        Plan::DropFinalizer(finalizer) => drop_finalizer(&cx.client, &node, finalizer).await?,
        Plan::Orphan => {
            for dependent in &dependents {
                drop_owners(&cx.client, dependent, std::slice::from_ref(&uid)).await?;
            }
            drop_finalizer(&cx.client, &node, ORPHAN).await?;
        }
    }
    Ok(Requeue::OnChange)
}

/// Whether an owner is there. In doubt, the server is asked.
async fn standing(
    client: &Client,
    node: &Node,
    owner: &OwnerReference,
    shared: &Shared,
) -> Result<Standing, Error> {
    if let Some((known, _)) = shared.graph.lock().look_up(&owner.uid)
        && (known.namespace.is_none() || known.namespace == node.namespace)
    {
        return Ok(if known.is_deleting && known.is_foreground {
            Standing::WaitsForDependents
        } else {
            Standing::Solid
        });
    }
    if shared.gone.lock().contains(&owner.uid) {
        return Ok(Standing::Gone);
    }
    let Some(served) = shared.kind(&owner.api_version, &owner.kind) else {
        let what = format!("{} {}", owner.api_version, owner.kind);
        return Err(Error::Malformed(format!("owner of an unknown kind: {what}")));
    };
    if served.is_namespaced && node.namespace.is_none() {
        // Nobody can say where to look: such an owner never counts as gone.
        return Ok(Standing::Solid);
    }
    let namespace = node.namespace.as_deref().filter(|_| served.is_namespaced);
    let found = get(client, &served.resource, namespace, &owner.name).await?;
    if found.is_some_and(|found| found.uid.as_ref() == Some(&owner.uid)) {
        return Ok(Standing::Solid);
    }
    let mut gone = shared.gone.lock();
    if gone.len() >= GONE_MAX {
        gone.clear();
    }
    gone.insert(owner.uid.clone());
    Ok(Standing::Gone)
}

fn api(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<Partial> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

async fn get(
    client: &Client,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<ObjectMeta>, Error> {
    let api = api(client, resource, namespace);
    let params = GetParams::default();
    let asked = api.get_metadata_with(name, &params);
    match timeout(RPC_DEADLINE, asked).await.map_err(|_| Error::TooLate("owner"))? {
        Ok(found) => Ok(Some(found.metadata)),
        Err(error) => Err::<(), _>(Error::from(error)).or_gone().map(|()| None),
    }
}

/// The object as it is now, if it is still the one meant.
async fn current(client: &Client, node: &Node) -> Result<Option<ObjectMeta>, Error> {
    let found = get(client, &node.resource, node.namespace.as_deref(), &node.name).await?;
    Ok(found.filter(|meta| meta.uid.as_deref() == Some(&*node.uid)))
}

/// Deletes the object, if its owners are still those that were judged.
async fn delete(client: &Client, node: &Node, policy: PropagationPolicy) -> Result<(), Error> {
    let Some(meta) = current(client, node).await? else { return Ok(()) };
    if meta.owner_references.as_deref().unwrap_or_default() != &*node.owners {
        return Ok(()); // the change brings it back
    }
    let preconditions =
        Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version };
    let params = DeleteParams {
        propagation_policy: Some(policy),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    let api = api(client, &node.resource, node.namespace.as_deref());
    let deleted = timeout(RPC_DEADLINE, api.delete(&node.name, &params)).await;
    let deleted = deleted.map_err(|_| Error::TooLate("delete"))?;
    deleted.map(drop).map_err(Error::from).or_gone()
}

async fn drop_owners(client: &Client, node: &Node, uids: &[String]) -> Result<(), Error> {
    let Some(meta) = current(client, node).await? else { return Ok(()) };
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.retain(|owner| !uids.contains(&owner.uid));
    patch(client, node, &meta, json!({"ownerReferences": owners})).await
}

async fn drop_finalizer(client: &Client, node: &Node, finalizer: &str) -> Result<(), Error> {
    let Some(meta) = current(client, node).await? else { return Ok(()) };
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.retain(|known| known != finalizer);
    patch(client, node, &meta, json!({"finalizers": finalizers})).await
}

/// Patches the metadata of the object as it was just read, and nothing newer.
async fn patch(
    client: &Client,
    node: &Node,
    meta: &ObjectMeta,
    mut change: Value,
) -> Result<(), Error> {
    change["uid"] = json!(meta.uid);
    change["resourceVersion"] = json!(meta.resource_version);
    let api = api(client, &node.resource, node.namespace.as_deref());
    let patch = Patch::Merge(json!({"metadata": change}));
    let params = PatchParams::default();
    let patched = timeout(RPC_DEADLINE, api.patch_metadata(&node.name, &params, &patch)).await;
    patched.map_err(|_| Error::TooLate("patch"))?.map_err(Error::from).or_gone()
}
