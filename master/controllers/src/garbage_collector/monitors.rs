//! One informer a kind feeds the graph; kinds come and go with discovery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource};
use kube::core::ObjectMeta;
use master_client::informer::{Change, Informer, ListWatch, Store};
use store_env::task::{Crew, TaskResult};
use tokio_util::sync::CancellationToken;

use super::graph::Node;
use super::{Partial, Shared};
use crate::custom_resources::Definition;
use crate::discovery::{Served, discover};

/// How often to ask for kinds that are new.
const REDISCOVER: Duration = Duration::from_secs(30);
/// Definitions come in numbers: they are looked at together.
const SETTLE: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(200);
/// Kinds that own nothing, are owned by nothing, and are many.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// So many objects of a kind stay decoded for whoever hears of their next change.
const DECODED_MAX: usize = 16;

struct Monitor {
    resource: Arc<ApiResource>,
    store: Store<Partial>,
    stop: CancellationToken,
}

/// Keeps a monitor for every kind that can be listed, watched and deleted.
pub(super) async fn run(
    client: Client,
    shared: Shared,
    definitions: Store<Definition>,
    stop: CancellationToken,
) -> TaskResult {
    let mut changes = definitions.subscribe();
    let mut crew = Crew::new();
    let mut monitors: BTreeMap<String, Monitor> = BTreeMap::new();
    loop {
        let Some(found) = stop.run_until_cancelled(discover(&client)).await else { return Ok(()) };
        let pause = match found {
            Ok((served, unknown)) => {
                let is_complete = unknown.is_empty();
                let is_more =
                    follow(&client, &shared, served, is_complete, &mut monitors, &mut crew);
                let synced = async {
                    for monitor in monitors.values() {
                        monitor.store.wait_synced().await;
                    }
                };
                if stop.run_until_cancelled(synced).await.is_none() {
                    return Ok(());
                }
                // Each kind is in the graph as of its first list; `feed` may still be at it.
                if is_more {
                    feed_all(&shared, &monitors);
                }
                shared.graph.lock().is_synced = true;
                if is_more {
                    // What went before the first list was told by nobody.
                    (shared.on_leave)(None);
                }
                REDISCOVER
            }
            Err(error) => {
                tracing::debug!(%error, "discovery failed");
                RETRY
            }
        };
        // A kind that was just defined may own objects, or be owned, at once.
        let changed = async {
            drop(changes.recv().await);
            tokio::time::sleep(SETTLE).await;
            while changes.try_recv().is_ok() {}
        };
        let pause = tokio::time::timeout(pause, changed);
        if stop.run_until_cancelled(pause).await.is_none() {
            return Ok(());
        }
    }
}

/// Starts monitors for new kinds and, if nothing was left unasked, stops those of kinds gone. Whether any was started.
fn follow(
    client: &Client,
    shared: &Shared,
    served: Vec<Served>,
    is_complete: bool,
    monitors: &mut BTreeMap<String, Monitor>,
    crew: &mut Crew,
) -> bool {
    let mut kinds = BTreeMap::new();
    for kind in &served {
        let resource = &kind.resource;
        kinds.insert((resource.api_version.clone(), resource.kind.clone()), kind.clone());
    }
    let wanted: BTreeMap<String, Served> = served
        .into_iter()
        .filter(|kind| kind.can("delete") && kind.can("list") && kind.can("watch"))
        .filter(|kind| {
            !IGNORED.contains(&(kind.resource.group.as_str(), kind.resource.plural.as_str()))
        })
        .map(|kind| (format!("{} {}", kind.resource.api_version, kind.resource.plural), kind))
        .collect();
    if is_complete {
        *shared.kinds.lock() = kinds;
        monitors.retain(|name, monitor| {
            let stays = wanted.contains_key(name);
            if !stays {
                monitor.stop.cancel();
            }
            stays
        });
    } else {
        shared.kinds.lock().extend(kinds);
    }
    let known = monitors.len();
    for (name, kind) in wanted {
        monitors.entry(name).or_insert_with(|| start(client, shared, kind.resource, crew));
    }
    monitors.len() > known
}

fn start(client: &Client, shared: &Shared, resource: ApiResource, crew: &mut Crew) -> Monitor {
    let api: Api<Partial> = Api::all_with(client.clone(), &resource);
    let (store, informer) = Informer::new(api, ListWatch::all());
    // The graph has what is needed; what is beside it is only told from what comes. There may be a hundred thousand.
    store.trim_with(what_the_graph_has);
    store.keep_decoded(DECODED_MAX);
    let resource = Arc::new(resource);
    let stop = CancellationToken::new();
    let token = stop.clone();
    crew.spawn(async move { drop(informer.run(token).await) });
    let (shared, token, changes) = (shared.clone(), stop.clone(), store.clone());
    let fed = resource.clone();
    crew.spawn(async move {
        token.run_until_cancelled(feed(shared.clone(), fed.clone(), changes)).await;
        let left = shared.graph.lock().of_kind(&fed);
        left.iter().for_each(|uid| forget(&shared, uid));
    });
    Monitor { resource, store, stop }
}

fn what_the_graph_has(object: &mut Partial) {
    let meta = std::mem::take(&mut object.metadata);
    object.types = None;
    object.metadata = ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        owner_references: meta.owner_references,
        finalizers: meta.finalizers,
        deletion_timestamp: meta.deletion_timestamp,
        ..ObjectMeta::default()
    };
}

fn feed_all(shared: &Shared, monitors: &BTreeMap<String, Monitor>) {
    for monitor in monitors.values() {
        let resource = &monitor.resource;
        monitor.store.for_each(|object| take(shared, resource, &object.metadata));
    }
}

async fn feed(shared: Shared, resource: Arc<ApiResource>, store: Store<Partial>) {
    let mut changes = store.subscribe();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Applied { new, .. } => take(&shared, &resource, &new.metadata),
            Change::Deleted(last) => {
                forget(&shared, &last.metadata.uid.clone().unwrap_or_default());
                (shared.on_leave)(Some(last.metadata.namespace.as_deref().unwrap_or_default()));
            }
            Change::Resync => {
                let mut absent = shared.graph.lock().of_kind(&resource);
                store.for_each(|object| {
                    absent.remove(object.metadata.uid.as_deref().unwrap_or_default());
                    take(&shared, &resource, &object.metadata);
                });
                absent.iter().for_each(|uid| forget(&shared, uid));
                if !absent.is_empty() {
                    (shared.on_leave)(None);
                }
            }
        }
    }
}

fn take(shared: &Shared, resource: &Arc<ApiResource>, meta: &ObjectMeta) {
    let affected = shared.graph.lock().apply(Node::of(resource, meta));
    affected.into_iter().for_each(|uid| shared.queue.add(uid));
}

fn forget(shared: &Shared, uid: &str) {
    let affected = shared.graph.lock().remove(uid);
    affected.into_iter().for_each(|uid| shared.queue.add(uid));
}
