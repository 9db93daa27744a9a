//! One informer a kind feeds the graph; kinds come and go with discovery.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource};
use master_client::informer::{Informer, ListWatch, Progress, Sink, Store};
use store_env::task::{Crew, TaskResult};
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
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

struct Monitor {
    progress: Progress,
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
                        monitor.progress.wait_synced().await;
                    }
                };
                if stop.run_until_cancelled(synced).await.is_none() {
                    return Ok(());
                }
                // Each kind is in the graph as of its first list.
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
    let feed = Feed::new(shared.clone(), resource);
    let informer = Informer::into_sink(api, ListWatch::all(), feed.clone());
    let monitor = Monitor { progress: feed.progress().clone(), stop: CancellationToken::new() };
    let stop = monitor.stop.clone();
    crew.spawn(async move {
        drop(informer.run(stop).await);
        feed.forget_all();
    });
    monitor
}
