//! Notices what happens to containers: a list of all of them every second, compared with the one before.
//!
//! Where the runtime offers a stream of events, each event asks for a list at once; the list stays the
//! only truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use node_cri::{Runtime, SharedRuntime};
use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::view::{GRACE_PERIOD, POD_NAME, POD_NAMESPACE, POD_UID};

const RELIST: Duration = Duration::from_secs(1);

/// A pod as the runtime's labels tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) grace_s: Option<i64>,
    /// Ids of sandboxes and containers with their states.
    pub(crate) parts: BTreeMap<String, i32>,
}

/// All pods that the runtime knows, by uid, and when they were listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) pods: BTreeMap<String, Seen>,
    /// Monotonic; 0 before the first list.
    pub(crate) at_ms: u64,
    pub(crate) error: Option<String>,
}

/// Lists until told to stop; sends the uids of pods that changed.
pub(crate) async fn run(
    runtime: SharedRuntime,
    clock: SharedClock,
    latest: watch::Sender<Listing>,
    changes: mpsc::Sender<BTreeSet<String>>,
    stop: CancellationToken,
) -> TaskResult {
    let mut events = runtime.events().await.ok();
    loop {
        match list(runtime.as_ref()).await {
            Ok(pods) => {
                let changed = difference(&latest.borrow().pods, &pods);
                latest.send_replace(Listing { pods, at_ms: clock.monotonic_ms(), error: None });
                if !changed.is_empty() && changes.send(changed).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                latest.send_modify(|listing| listing.error = Some(error.to_string()));
            }
        }
        let event = async {
            match &mut events {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            event = event => if !matches!(event, Some(Ok(_))) { events = None },
            () = tokio::time::sleep(RELIST) => {}
        }
    }
}

async fn list(runtime: &dyn Runtime) -> node_cri::Result<BTreeMap<String, Seen>> {
    let mut pods: BTreeMap<String, Seen> = BTreeMap::new();
    for sandbox in runtime.list_sandboxes(BTreeMap::new()).await? {
        let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        let seen = pods.entry(label(POD_UID)).or_default();
        (seen.namespace, seen.name) = (label(POD_NAMESPACE), label(POD_NAME));
        seen.grace_s = sandbox.annotations.get(GRACE_PERIOD).and_then(|text| text.parse().ok());
        seen.parts.insert(sandbox.id.clone(), sandbox.state);
    }
    for container in runtime.list_containers(BTreeMap::new()).await? {
        let uid = container.labels.get(POD_UID).cloned().unwrap_or_default();
        pods.entry(uid).or_default().parts.insert(container.id, container.state);
    }
    // What somebody else runs in this runtime is none of ours.
    pods.retain(|uid, seen| !uid.is_empty() && !seen.name.is_empty());
    Ok(pods)
}

fn difference(before: &BTreeMap<String, Seen>, after: &BTreeMap<String, Seen>) -> BTreeSet<String> {
    let uids = before.keys().chain(after.keys());
    uids.filter(|uid| before.get(*uid) != after.get(*uid)).cloned().collect()
}
