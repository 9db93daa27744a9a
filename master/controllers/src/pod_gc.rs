//! Removes pods that nobody else will: of nodes that are gone, never placed but deleted, and
//! finished ones beyond a bound.
//!
//! Watches: `Pod`, `Node`. Writes: `Pod` (phase, condition `DisruptionTarget`, deletion).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use master_client::informer::Store;
use master_client::pod::Pod;
use parking_lot::Mutex;
use serde_json::json;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::is_terminating;
use crate::pods;
use crate::taint_eviction::disruption;

const EVERY: Duration = Duration::from_secs(20);
/// A node must be missing this long before its pods count as lost.
const QUARANTINE_MS: u64 = 40_000;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The one key of this controller: all pods.
const ALL: &str = "pods";

/// Since when (monotonic) a node that pods name has been missing.
type Missing = Arc<Mutex<BTreeMap<String, u64>>>;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let missing = Missing::default();
    let controller = Controller::new("pod-garbage-collector", cx, group);
    controller.queue().add(ALL.to_owned());
    controller
        .watches(&cx.informers.pods, |pod: &Pod| {
            let is_lost = is_terminating(&pod.metadata) && pods::node_of(pod).is_none();
            is_lost.then(|| ALL.to_owned()).into_iter().collect()
        })
        .run(1, move |cx, _| reconcile(cx, missing.clone()));
}

async fn reconcile(cx: Cx, missing: Missing) -> Result<Requeue, Error> {
    let all = cx.informers.pods.list();
    let gone = gone_nodes(&cx, &all, &missing).await?;
    let lost = plan(&all, &cx.informers.nodes, &gone, cx.config.terminated_pods_max);
    let mut failed = Ok(());
    for (pod, why) in lost {
        if let Err(error) = remove(&cx, &pod, why).await {
            failed = Err(error);
        }
    }
    failed?;
    Ok(Requeue::After(EVERY))
}

/// Nodes that pods are on, that have been missing long enough, and that the store does not know.
async fn gone_nodes(cx: &Cx, all: &[Arc<Pod>], missing: &Missing) -> Result<Vec<String>, Error> {
    let now_ms = cx.clock.monotonic_ms();
    let mut absent: Vec<&str> = all.iter().filter_map(|pod| pods::node_of(pod)).collect();
    absent.retain(|name| cx.informers.nodes.get(name).is_none());
    absent.sort_unstable();
    absent.dedup();
    let due: Vec<String> = {
        let mut missing = missing.lock();
        missing.retain(|name, _| absent.contains(&name.as_str()));
        for name in absent {
            missing.entry(name.to_owned()).or_insert(now_ms);
        }
        let is_due = |since: &u64| now_ms.saturating_sub(*since) >= QUARANTINE_MS;
        missing.iter().filter(|(_, since)| is_due(since)).map(|(name, _)| name.clone()).collect()
    };
    let mut gone = Vec::new();
    for name in due {
        let mut node = Node::default();
        node.metadata.name = Some(name.clone());
        if cx.live(&node).await?.is_none() {
            gone.push(name);
        }
    }
    Ok(gone)
}

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NodeGone,
    NeverPlaced,
    OutOfService,
    TooMany,
}

fn plan(
    all: &[Arc<Pod>],
    nodes: &Store<Node>,
    gone: &[String],
    terminated_max: usize,
) -> Vec<(Arc<Pod>, Why)> {
    let is_out = |name: &str| {
        let node = nodes.get(name);
        let spec = node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_ref())
            .is_some_and(|taints| taints.iter().any(|taint| taint.key == OUT_OF_SERVICE))
    };
    let why = |pod: &Arc<Pod>| match pods::node_of(pod) {
        None => is_terminating(&pod.metadata).then_some(Why::NeverPlaced),
        Some(node) if gone.iter().any(|name| name == node) => Some(Why::NodeGone),
        Some(node) if is_terminating(&pod.metadata) && is_out(node) => Some(Why::OutOfService),
        Some(_) => None,
    };
    let mut lost: Vec<(Arc<Pod>, Why)> =
        all.iter().filter_map(|pod| Some((pod.clone(), why(pod)?))).collect();
    let mut ended: Vec<&Arc<Pod>> =
        all.iter().filter(|pod| pods::is_terminal(pod) && !is_terminating(&pod.metadata)).collect();
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let surplus = ended.len().saturating_sub(terminated_max);
    lost.extend(ended.into_iter().take(surplus).map(|pod| (pod.clone(), Why::TooMany)));
    lost
}

async fn remove(cx: &Cx, pod: &Pod, why: Why) -> Result<(), Error> {
    tracing::info!(pod = pod.metadata.name, ?why, "removing a pod");
    if why == Why::NodeGone || why == Why::OutOfService {
        let text = "PodGC: node no longer exists";
        let mut status =
            json!({"conditions": [disruption(pod, "DeletionByPodGC", text, &cx.now_s())]});
        if !pods::is_terminal(pod) {
            status["phase"] = json!("Failed");
        }
        cx.patch_status(pod, status).await.or_gone()?;
    }
    cx.delete_with(pod, Some(0)).await.or_gone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    fn check(sketch: &str, gone: &[&str], terminated_max: usize, expected: &str) {
        let gone: Vec<String> = gone.iter().map(|&name| name.to_owned()).collect();
        let lost = plan(&pods(sketch), &Store::default(), &gone, terminated_max);
        let words: Vec<String> = lost
            .iter()
            .map(|(pod, why)| format!("{} {why:?}", pod.metadata.name.clone().unwrap()))
            .collect();
        assert_eq!(words.join(", "), expected, "{sketch}");
    }

    #[test]
    fn only_pods_that_nobody_else_removes_go() {
        check("a@1 b@2 c- d", &["2"], 10, "b NodeGone, c NeverPlaced");
        check("a@1- b:succeeded", &[], 10, "");
        check("a:failed~10 b:succeeded~30 c@1", &[], 1, "b TooMany");
    }
}
