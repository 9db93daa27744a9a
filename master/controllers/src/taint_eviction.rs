//! Evicts pods from nodes with NoExecute taints once they tolerate them no longer.
//!
//! Watches: `Pod`, `Node`. Writes: `Pod` (condition `DisruptionTarget`, deletion).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use serde_json::{Value, json};
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{is_terminating, name_of};
use crate::pods;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let pods = cx.informers.pods.clone();
    let started = cx.now();
    let nodes = cx.informers.nodes.clone();
    Controller::new("taint-eviction-controller", cx, group)
        .watches(&cx.informers.pods, move |pod| {
            let tainted = pods::node_of(pod).and_then(|name| nodes.get(name));
            let is_tainted = tainted.is_some_and(|node| evicting(&node).next().is_some());
            is_tainted.then(|| key_of(pod)).into_iter().collect()
        })
        .watches(&cx.informers.nodes, move |node| pods_on(&pods, node))
        .run(4, move |cx, key| reconcile(cx, key, started));
}

fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten();
    taints.filter(|taint| taint.effect == "NoExecute")
}

fn pods_on(pods: &Store<Pod>, node: &Node) -> Vec<String> {
    if evicting(node).next().is_none() {
        return Vec::new();
    }
    let name = name_of(&node.metadata);
    let all = pods.list();
    all.iter().filter(|pod| pods::node_of(pod) == Some(name)).map(|pod| key_of(&**pod)).collect()
}

async fn reconcile(cx: Cx, key: String, started: Timestamp) -> Result<Requeue, Error> {
    let Some(pod) = cx.informers.pods.get(&key) else { return Ok(Requeue::OnChange) };
    let node = pods::node_of(&pod).and_then(|name| cx.informers.nodes.get(name));
    let Some(node) = node.filter(|_| !is_terminating(&pod.metadata)) else {
        return Ok(Requeue::OnChange);
    };
    let taints: Vec<&Taint> = evicting(&node).collect();
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
    match plan(&taints, &tolerations.unwrap_or_default(), started, cx.now()) {
        Fate::Stays => Ok(Requeue::OnChange),
        Fate::StaysFor(left) => Ok(Requeue::After(left)),
        Fate::Goes => {
            let text = format!("Marking for deletion Pod {key}");
            cx.events.normal(&*pod, "TaintManagerEviction", text);
            mark(&cx, &pod).await.or_gone()?;
            cx.delete(&*pod).await.or_gone()?;
            Ok(Requeue::OnChange)
        }
    }
}

/// Says on the pod why it goes.
async fn mark(cx: &Cx, pod: &Pod) -> Result<Pod, Error> {
    let text = "Taint manager: deleting due to NoExecute taint";
    let condition = disruption(pod, "DeletionByTaintManager", text, &cx.now_s());
    cx.patch_status(pod, json!({"conditions": [condition]})).await
}

/// The condition that says why a pod is taken away, of which generation, and since when it is.
pub(crate) fn disruption(pod: &Pod, reason: &str, message: &str, now: &Time) -> Value {
    let before = pods::condition(pod, "DisruptionTarget").filter(|known| known.status == "True");
    let since = before.and_then(|known| known.last_transition_time.as_ref()).unwrap_or(now);
    json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": pod.metadata.generation})
}

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    StaysFor(Duration),
    Goes,
}

/// The shortest toleration decides. Time counts from when the taint came, at the earliest from when
/// this leadership began.
fn plan(taints: &[&Taint], tolerations: &[Toleration], started: Timestamp, now: Timestamp) -> Fate {
    let mut left_least: Option<i64> = None;
    for taint in taints {
        let mut matching = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if matching.peek().is_none() {
            return Fate::Goes;
        }
        let Some(seconds) = matching.filter_map(|toleration| toleration.toleration_seconds).min()
        else {
            continue; // for ever
        };
        let since = taint.time_added.as_ref().map_or(started, |time| time.0.max(started));
        let left = seconds.max(0) - (now.as_second() - since.as_second());
        left_least = Some(left_least.map_or(left, |least| least.min(left)));
    }
    match left_least {
        None => Fate::Stays,
        Some(left) => match u64::try_from(left) {
            Ok(left) if left > 0 => Fate::StaysFor(Duration::from_secs(left)),
            _ => Fate::Goes,
        },
    }
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let effect = is_empty(&toleration.effect) || toleration.effect.as_ref() == Some(&taint.effect);
    let key = is_empty(&toleration.key) || toleration.key.as_ref() == Some(&taint.key);
    let value = match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => {
            !is_empty(&toleration.key)
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
    };
    effect && key && value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{at, object, time};

    /// Taints were added at 1,000; leadership began at 500; it is 1,100.
    fn check(taints: &[&str], tolerations: serde_json::Value, expected: Fate) {
        let taint = |key: &&str| {
            object::<Taint>(json!({"key": key, "effect": "NoExecute", "timeAdded": time(1_000)}))
        };
        let taints: Vec<Taint> = taints.iter().map(taint).collect();
        let tolerations: Vec<Toleration> = object(tolerations.clone());
        let refs: Vec<&Taint> = taints.iter().collect();
        assert_eq!(plan(&refs, &tolerations, at(500), at(1_100)), expected, "{tolerations:?}");
    }

    #[test]
    fn why_a_pod_goes_is_said_of_its_generation_and_since_when_it_is_true() {
        let check = |conditions: Value, since: i64| {
            let pod: Pod = object(json!({"metadata": {"name": "p", "generation": 3},
                "spec": {"containers": []}, "status": {"conditions": conditions}}));
            let said = disruption(&pod, "R", "m", &Time(at(9)));
            assert_eq!(said["observedGeneration"], 3);
            assert_eq!(said["lastTransitionTime"], time(since));
        };
        let known = |status: &str| json!([{"type": "DisruptionTarget", "status": status, "lastTransitionTime": time(5)}]);
        check(json!([]), 9);
        check(known("False"), 9);
        check(known("True"), 5);
    }

    #[test]
    fn shortest_toleration_decides() {
        let seconds = Duration::from_secs;
        let exists =
            |key: &str, s: i64| json!({"key": key, "operator": "Exists", "tolerationSeconds": s});
        check(&["a"], json!([]), Fate::Goes);
        check(&["a"], json!([{"key": "a", "operator": "Exists"}]), Fate::Stays);
        check(&["a"], json!([{"operator": "Exists"}]), Fate::Stays);
        check(&["a"], json!([exists("a", 300)]), Fate::StaysFor(seconds(200)));
        check(&["a"], json!([exists("a", 100)]), Fate::Goes);
        check(&["a"], json!([exists("a", 0)]), Fate::Goes);
        check(
            &["a", "b"],
            json!([exists("a", 300), exists("b", 150)]),
            Fate::StaysFor(seconds(50)),
        );
        check(&["a", "b"], json!([exists("a", 300)]), Fate::Goes);
        check(&["a"], json!([{"key": "a", "value": "other"}]), Fate::Goes);
    }

    #[test]
    fn new_leader_counts_from_its_own_beginning() {
        let taint: Taint =
            object(json!({"key": "a", "effect": "NoExecute", "timeAdded": time(1_000)}));
        let tolerations: Vec<Toleration> =
            object(json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}]));
        let fate = plan(&[&taint], &tolerations, at(2_000), at(2_010));
        assert_eq!(fate, Fate::StaysFor(Duration::from_secs(290)));
    }
}
