//! What a node's conditions and taints should say. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
/// Conditions that keep new pods away: (type, status, taint).
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// What a silent kubelet no longer vouches for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// How long a node has been silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Its grace period ends after this.
    Within(Duration),
    TooLong,
}

pub(super) fn silence(silent: Duration, grace: Duration) -> Silence {
    match grace.checked_sub(silent) {
        Some(left) if !left.is_zero() => Silence::Within(left),
        _ => Silence::TooLong,
    }
}

/// Changes whenever the kubelet shows that it lives: by its lease, or by its status.
pub(super) fn sign_of_life(node: &Node, lease: Option<&Lease>) -> String {
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    let renewed = renewed.map(|time| time.0.to_string()).unwrap_or_default();
    let ready = condition(node, "Ready");
    let beat = ready.and_then(|ready| ready.last_heartbeat_time.as_ref());
    let beat = beat.map(|time| time.0.to_string()).unwrap_or_default();
    // A kubelet that says anything but Unknown has spoken after us.
    let spoke = ready.is_some_and(|ready| ready.status != "Unknown");
    format!("{renewed} {beat} {spoke}")
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// `True`, `False` or `Unknown`; `Unknown` also if nobody ever said.
pub(super) fn ready_status(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |ready| ready.status.as_str())
}

pub(super) fn is_ready(node: &Node) -> bool {
    ready_status(node) == "True"
}

/// The conditions of a node that fell silent; `None` if they say so already.
pub(super) fn conditions(node: &Node, now: &Time) -> Option<Vec<NodeCondition>> {
    let known = node.status.as_ref().and_then(|status| status.conditions.clone());
    let known = known.unwrap_or_default();
    let mut conditions = known.clone();
    for kind in VOUCHED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(now.clone());
            }
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(now.clone()),
            }),
        }
    }
    (conditions != known).then_some(conditions)
}

/// The taint that evicts the pods of a node in this state.
fn evicting(node: &Node) -> Option<&'static str> {
    match ready_status(node) {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

fn evicts(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str())
}

/// Whether the node is to get an evicting taint that it lacks altogether. (From not ready to
/// unreachable or back is no new eviction.)
pub(super) fn wants_eviction(node: &Node, known: &[Taint]) -> bool {
    evicting(node).is_some() && !known.iter().any(evicts)
}

/// The node's taints: ours as its state demands, everybody else's as they are. `may_evict` allows a
/// first evicting taint; `hold` takes evicting taints away from everybody.
pub(super) fn taints(
    node: &Node,
    known: &[Taint],
    may_evict: bool,
    hold: bool,
    now: &Time,
) -> Vec<Taint> {
    let state =
        |kind: &str, status: &str| condition(node, kind).is_some_and(|c| c.status == status);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, taint) in BY_CONDITION {
        let never_spoke = kind == "Ready" && status == "Unknown" && condition(node, kind).is_none();
        if state(kind, status) || never_spoke {
            wanted.push((taint, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    if let Some(taint) = evicting(node)
        && !hold
        && (may_evict || known.iter().any(evicts))
    {
        wanted.push((taint, NO_EXECUTE));
    }
    let is_ours = |taint: &Taint| {
        let by_condition = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key);
        (taint.effect == NO_SCHEDULE && (by_condition || taint.key == UNSCHEDULABLE))
            || evicts(taint)
    };
    let stays = |taint: &&Taint| {
        !is_ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str()))
    };
    let mut taints: Vec<Taint> = known.iter().filter(stays).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(now.clone()),
                value: None,
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{at, object};

    fn node(ready: &str) -> Node {
        object(json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]}}))
    }

    /// Taints as `key:effect`, our prefix left out, before and after.
    fn check(ready: &str, before: &str, may_evict: bool, hold: bool, expected: &str) {
        let parse = |word: &str| {
            let (key, effect) = word.split_once(':').unwrap();
            let key =
                if key.contains('/') { key.into() } else { format!("node.kubernetes.io/{key}") };
            Taint { key, effect: effect.into(), ..Taint::default() }
        };
        let known: Vec<Taint> = before.split_whitespace().map(parse).collect();
        let taints = taints(&node(ready), &known, may_evict, hold, &Time(at(7)));
        let words: Vec<String> = taints
            .iter()
            .map(|t| format!("{}:{}", t.key.replace("node.kubernetes.io/", ""), t.effect))
            .collect();
        assert_eq!(words.join(" "), expected, "{ready}, {before}, {may_evict}, {hold}");
    }

    #[test]
    fn taints_follow_the_ready_condition() {
        check("True", "", true, false, "");
        check("False", "", true, false, "not-ready:NoSchedule not-ready:NoExecute");
        check("Unknown", "", true, false, "unreachable:NoSchedule unreachable:NoExecute");
        check("True", "unreachable:NoSchedule unreachable:NoExecute", false, false, "");
    }

    #[test]
    fn eviction_waits_for_its_turn_and_is_held_when_everything_is_silent() {
        check("Unknown", "", false, false, "unreachable:NoSchedule");
        check("Unknown", "unreachable:NoExecute", false, true, "unreachable:NoSchedule");
        check(
            "Unknown",
            "not-ready:NoExecute",
            false,
            false,
            "unreachable:NoSchedule unreachable:NoExecute",
        );
    }

    #[test]
    fn taints_of_others_stay() {
        check(
            "True",
            "acme.io/gpu:NoSchedule not-ready:NoSchedule",
            true,
            false,
            "acme.io/gpu:NoSchedule",
        );
        check("True", "acme.io/not-ready:NoExecute", true, false, "acme.io/not-ready:NoExecute");
    }

    #[test]
    fn silent_node_is_unknown_in_all_that_its_kubelet_vouched_for() {
        let now = Time(at(7));
        let mut node = node("True");
        let conditions = conditions(&node, &now).unwrap();
        let words: Vec<String> = conditions
            .iter()
            .map(|c| format!("{} {} {}", c.type_, c.status, c.reason.clone().unwrap()))
            .collect();
        assert_eq!(
            words,
            [
                "Ready Unknown NodeStatusUnknown",
                "DiskPressure Unknown NodeStatusUnknown",
                "MemoryPressure Unknown NodeStatusNeverUpdated",
                "PIDPressure Unknown NodeStatusNeverUpdated",
            ]
        );
        node.status.get_or_insert_default().conditions = Some(conditions);
        assert_eq!(super::conditions(&node, &now), None);
    }

    #[test]
    fn silence_ends_with_the_grace_period() {
        let s = Duration::from_secs;
        assert_eq!(silence(s(49), s(50)), Silence::Within(s(1)));
        assert_eq!(silence(s(50), s(50)), Silence::TooLong);
        assert_eq!(silence(s(500), s(50)), Silence::TooLong);
    }
}
