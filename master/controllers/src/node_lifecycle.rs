//! Notices nodes that fall silent, says so on the node and its pods, and taints it, so that pods
//! are placed and evicted accordingly.
//!
//! Nobody can tell a dead node from one behind a broken network. So pods are evicted slowly (a node
//! every ten seconds in a zone), and not at all when most of a zone is silent.
//!
//! Watches: `Node`, `Lease` (kube-node-lease), `Pod`. Writes: the node's conditions and taints, the
//! pods' `Ready` condition.
//!
//! # Invariants
//! - A change of leader gives every node a fresh grace period: what counts is the last sign of life
//!   that *this* leader saw, by its own clock.

mod plan;
mod zones;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use master_client::pod::Pod;
use parking_lot::Mutex;
use serde_json::json;
use store_env::task::Group;

use self::plan::{Silence, conditions, is_ready, ready_status, silence, taints};
use self::zones::{Health, Limiter, zone_of};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::informers::NODE_LEASES;
use crate::owner::name_of;
use crate::pods;

/// How often silent nodes are looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// The newest sign of life of a node, and when this leader saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    sign: String,
    at_ms: u64,
}

#[derive(Debug, Default)]
struct Watchman {
    seen: BTreeMap<String, Seen>,
    limiter: Limiter,
    /// Nodes that were announced.
    known: BTreeMap<String, String>,
}

type Shared = Arc<Mutex<Watchman>>;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let shared = Shared::default();
    let nodes = cx.informers.nodes.clone();
    Controller::new("node-controller", cx, group)
        .of(&cx.informers.nodes)
        .watches(&cx.informers.node_leases, |lease| vec![name_of(&lease.metadata).to_owned()])
        // A pod that says it is ready on a node that is not.
        .watches(&cx.informers.pods, move |pod: &Pod| {
            let node = pods::node_of(pod).filter(|_| pods::is_ready(pod));
            let is_down = |name: &&str| nodes.get(name).is_some_and(|node| !is_ready(&node));
            node.filter(is_down).map(str::to_owned).into_iter().collect()
        })
        .run(4, move |cx, name| reconcile(cx, name, shared.clone()));
}

async fn reconcile(cx: Cx, name: String, shared: Shared) -> Result<Requeue, Error> {
    let Some(node) = cx.informers.nodes.get(&name) else {
        let mut watchman = shared.lock();
        watchman.seen.remove(&name);
        watchman.known.remove(&name);
        return Ok(Requeue::OnChange);
    };
    announce(&cx, &node, &shared);
    let silent = listen(&cx, &node, &shared);
    let mut node = (*node).clone();
    if silent == Silence::TooLong
        && let Some(conditions) = conditions(&node, &cx.now_s())
    {
        if ready_status(&node) != "Unknown" {
            let text = format!("Node {name} status is now: NodeNotReady");
            cx.events.normal(&node, "NodeNotReady", text);
        }
        node.status.get_or_insert_default().conditions = Some(conditions);
        node = cx.replace_status(&node).await?;
    }
    let again = taint(&cx, &node, &shared).await?;
    if !is_ready(&node) {
        mark_pods(&cx, &name).await?;
    }
    Ok(match (silent, again) {
        (_, true) | (Silence::TooLong, _) => Requeue::After(AGAIN),
        (Silence::Within(left), false) => Requeue::After(left + Duration::from_millis(100)),
    })
}

fn announce(cx: &Cx, node: &Node, shared: &Shared) {
    let name = name_of(&node.metadata).to_owned();
    let uid = node.metadata.uid.clone().unwrap_or_default();
    let before = shared.lock().known.insert(name.clone(), uid.clone());
    if before.as_ref() != Some(&uid) {
        let text = format!("Node {name} event: Registered Node {name} in Controller");
        cx.events.normal(node, "RegisteredNode", text);
    }
}

/// How long the node has been silent, as far as this leader knows.
fn listen(cx: &Cx, node: &Node, shared: &Shared) -> Silence {
    let name = name_of(&node.metadata);
    let lease = cx.informers.node_leases.get(&lease_key(name));
    let sign = plan::sign_of_life(node, lease.as_deref());
    let now_ms = cx.clock.monotonic_ms();
    let mut watchman = shared.lock();
    let seen = watchman.seen.entry(name.to_owned()).or_default();
    if seen.at_ms == 0 || seen.sign != sign {
        *seen = Seen { sign, at_ms: now_ms.max(1) };
    }
    silence(Duration::from_millis(now_ms.saturating_sub(seen.at_ms)), cx.config.node_grace)
}

/// Writes the taints that follow from the node's conditions; whether some have to wait.
async fn taint(cx: &Cx, node: &Node, shared: &Shared) -> Result<bool, Error> {
    let known: Vec<Taint> =
        node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let all = cx.informers.nodes.list();
    let health = Health::of(&all);
    let zone = zone_of(node);
    let mut evicts = plan::wants_eviction(node, &known);
    let mut waits = false;
    if evicts {
        let pace = health.pace(&zone);
        waits = !shared.lock().limiter.take(&zone, pace, cx.clock.monotonic_ms());
        evicts = !waits;
    }
    let wanted = taints(node, &known, evicts, health.is_all_silent(), &cx.now_s());
    if wanted != known {
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": wanted}});
        cx.merge(node, "", patch).await.or_gone()?;
    }
    Ok(waits)
}

/// Pods on a node that is not ready do not serve. One that cannot be told so keeps nobody else from it; those that are left
/// are marked when the node is looked at again.
///
/// # Errors
/// The first of those that are left.
async fn mark_pods(cx: &Cx, node: &str) -> Result<(), Error> {
    let all = cx.informers.pods.list();
    let mut marked = Ok(());
    for pod in all.iter().filter(|pod| pods::node_of(pod) == Some(node) && pods::is_ready(pod)) {
        let unready = json!({"type": "Ready", "status": "False", "lastTransitionTime": cx.now_s()});
        match cx.patch_status(&**pod, json!({"conditions": [unready]})).await {
            Ok(_) => cx.events.warning(&**pod, "NodeNotReady", "Node is not ready"),
            Err(error) if error.is_not_found() => {}
            Err(error) => marked = marked.and(Err(error)),
        }
    }
    marked
}

/// Under which key the copy of the leases holds a node's.
fn lease_key(node: &str) -> String {
    format!("{NODE_LEASES}/{node}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;
    use master_client::informer::key_of;

    use super::*;
    use crate::testing::api::{Api, refusal};
    use crate::testing::pods;

    #[tokio::test(start_paused = true)]
    async fn pod_that_cannot_be_told_keeps_no_other_from_being_marked() {
        let api = Api::new(|_, (_, path, body)| {
            if path.contains("/b/") {
                return refusal(409, "Conflict");
            }
            let metadata = json!({"name": path.rsplit('/').nth(1), "namespace": "default"});
            (200, json!({"metadata": metadata, "status": body["status"]}))
        });
        let all = pods("a@1 b@1 c@1 d@2 e@1!");
        api.cx.informers.pods.replace(all.iter().map(|pod| (**pod).clone()).collect(), "1");
        let marked = mark_pods(&api.cx, "1").await;
        assert!(marked.is_err_and(|error| error.is_conflict()));
        for (name, times) in [("a", 1), ("b", 1), ("c", 1), ("d", 0), ("e", 0)] {
            let asked = api.asked("PATCH", &format!("/{name}/status"));
            assert_eq!(asked.len(), times, "{name}");
        }
    }

    /// Leases looked up by the node's bare name were never found: every node fell silent after its grace.
    #[test]
    fn lease_of_a_node_is_found_where_the_informer_puts_it() {
        let mut lease = Lease::default();
        lease.metadata.namespace = Some(NODE_LEASES.to_owned());
        lease.metadata.name = Some("node-1".to_owned());
        assert_eq!(key_of(&lease), lease_key("node-1"));
    }
}
