//! Says for each PodDisruptionBudget how many of its pods may be evicted now.
//!
//! Watches: `PodDisruptionBudget`, `Pod`. Writes: the budget's status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use master_client::informer::key_of;
use master_client::pod::Pod;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{controller_of, is_terminating, name_of, namespace_of, selector_of, selects};
use crate::pods;

/// An eviction that did not lead to a deletion by then is forgotten.
const DISRUPTED_S: i64 = 120;
const CONDITION: &str = "DisruptionAllowed";

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let budgets = cx.informers.disruption_budgets.clone();
    Controller::new("disruption-controller", cx, group)
        .of(&cx.informers.disruption_budgets)
        .watches(&cx.informers.pods, move |pod| {
            let wants = |budget: &Arc<PodDisruptionBudget>| {
                let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                selector_of(selector).is_some_and(|s| selects(&s, &pod.metadata))
            };
            let all = budgets.list_in(namespace_of(&pod.metadata));
            all.into_iter().filter(wants).map(|budget| key_of(&*budget)).collect()
        })
        .run(2, reconcile);
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(budget) = cx.informers.disruption_budgets.get(&key) else {
        return Ok(Requeue::OnChange);
    };
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let Some(selector) = selector_of(selector) else { return Ok(Requeue::OnChange) };
    let mut pods = cx.informers.pods.list_in(namespace_of(&budget.metadata));
    pods.retain(|pod| selects(&selector, &pod.metadata) && !pods::is_terminal(pod));
    let expected = expected(&cx, &pods);
    let status = plan(&budget, &pods, expected, &cx.now_s());
    let waits = status.disrupted_pods.as_ref().is_some_and(|pods| !pods.is_empty());
    if budget.status.as_ref() != Some(&status) {
        let changed = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
        cx.replace_status(&changed).await.or_gone()?;
    }
    Ok(if waits { Requeue::After(Duration::from_secs(10)) } else { Requeue::OnChange })
}

/// How many pods there should be: what their controllers are sized for, each counted once.
fn expected(cx: &Cx, pods: &[Arc<Pod>]) -> i32 {
    let mut counted: BTreeSet<String> = BTreeSet::new();
    let mut total = 0;
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else {
            total += 1;
            continue;
        };
        let key = format!("{}/{}", namespace_of(&pod.metadata), owner.name);
        let informers = &cx.informers;
        let (uid, size) = match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = informers.replica_sets.get(&key);
                let above = set.as_ref().and_then(|set| controller_of(&set.metadata).cloned());
                let above_key = above
                    .as_ref()
                    .map(|above| format!("{}/{}", namespace_of(&pod.metadata), above.name));
                match above_key.and_then(|key| informers.deployments.get(&key)) {
                    Some(deployment) => (
                        deployment.metadata.uid.clone(),
                        deployment.spec.as_ref().and_then(|s| s.replicas),
                    ),
                    None => (Some(owner.uid.clone()), set.and_then(|s| s.spec.as_ref()?.replicas)),
                }
            }
            "StatefulSet" => {
                let set = informers.stateful_sets.get(&key);
                (Some(owner.uid.clone()), set.and_then(|set| set.spec.as_ref()?.replicas))
            }
            "ReplicationController" => {
                let set = informers.replication_controllers.get(&key);
                (Some(owner.uid.clone()), set.and_then(|set| set.spec.as_ref()?.replicas))
            }
            _ => {
                total += 1;
                continue;
            }
        };
        if counted.insert(uid.unwrap_or_default()) {
            total += size.unwrap_or(1);
        }
    }
    total
}

fn resolve(value: &IntOrString, whole: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.trim_end_matches('%').parse::<i32>().unwrap_or(0);
            (whole * percent + 99) / 100
        }
    }
}

fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: i32,
    now: &Time,
) -> PodDisruptionBudgetStatus {
    let spec = budget.spec.clone().unwrap_or_default();
    let before = budget.status.clone().unwrap_or_default();
    let present = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected, (expected - resolve(most, expected)).max(0)),
        (None, Some(IntOrString::Int(least))) => (present, *least),
        (None, Some(least)) => (expected, resolve(least, expected)),
        (None, None) => (present, 1),
    };
    let is_fresh = |time: &Time| now.0.as_second() - time.0.as_second() < DISRUPTED_S;
    let still_there = |name: &String| {
        pods.iter().any(|p| name_of(&p.metadata) == name && !is_terminating(&p.metadata))
    };
    let disrupted: BTreeMap<String, Time> = before
        .disrupted_pods
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, time)| is_fresh(time) && still_there(name))
        .collect();
    let is_healthy = |pod: &&Arc<Pod>| {
        pods::is_ready(pod)
            && !is_terminating(&pod.metadata)
            && !disrupted.contains_key(name_of(&pod.metadata))
    };
    let healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let generation = budget.metadata.generation;
    PodDisruptionBudgetStatus {
        conditions: Some(vec![condition(before.conditions, allowed > 0, generation, now)]),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
    }
}

fn condition(
    before: Option<Vec<Condition>>,
    is_allowed: bool,
    generation: Option<i64>,
    now: &Time,
) -> Condition {
    let (status, reason) =
        if is_allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut known = before.into_iter().flatten();
    let known = known.find(|known| known.type_ == CONDITION && known.status == status);
    Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: known.map_or_else(|| now.clone(), |known| known.last_transition_time),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{at, object, pods, time};

    /// expected, desired, healthy, allowed
    fn check(spec: Value, sketch: &str, wanted: i32, expected: [i32; 4]) {
        let budget: PodDisruptionBudget = object(json!({"metadata": {"name": "b"}, "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0,
                "expectedPods": 0, "disruptedPods": {"z": time(999_990)}}}));
        let status = plan(&budget, &pods(sketch), wanted, &Time(at(1_000_000)));
        let got = [
            status.expected_pods,
            status.desired_healthy,
            status.current_healthy,
            status.disruptions_allowed,
        ];
        assert_eq!(got, expected.map(Some), "{sketch}");
    }

    #[test]
    fn budget_allows_what_keeps_enough() {
        check(json!({"minAvailable": 2}), "a b c", 3, [3, 2, 3, 1]);
        check(json!({"minAvailable": 2}), "a b! c", 3, [3, 2, 2, 0]);
        check(json!({"minAvailable": "50%"}), "a b c", 3, [3, 2, 3, 1]);
        check(json!({"maxUnavailable": 1}), "a b c-", 3, [3, 2, 2, 0]);
        check(json!({"maxUnavailable": "34%"}), "a b c", 3, [3, 1, 3, 2]);
        check(json!({"maxUnavailable": 1}), "", 0, [0, 0, 0, 0]);
        check(json!({"minAvailable": 1}), "a z", 2, [2, 1, 1, 0]);
    }
}
