//! What controllers ask of pods: are they alive, ready, available; which one may go first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, PodCondition, PodTemplateSpec};
use kube::core::ObjectMeta;
use master_client::informer::Kind;
use master_client::pod::Pod;

use crate::owner::{annotation, is_terminating, reference_to};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// It ran to its end.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It counts as a replica: neither finished nor on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(&pod.metadata)
}

pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref()?.node_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when it is ready.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// How long until a ready pod counts as available; zero if it does, `None` if it is not ready.
pub(crate) fn available_in(pod: &Pod, min_ready_s: i32, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    let wanted = Duration::from_secs(u64::try_from(min_ready_s).unwrap_or(0));
    if wanted.is_zero() {
        return Some(Duration::ZERO);
    }
    let since = ready_since(pod)?;
    let been = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    Some(wanted.saturating_sub(been))
}

pub(crate) fn is_available(pod: &Pod, min_ready_s: i32, now: Timestamp) -> bool {
    available_in(pod, min_ready_s, now).is_some_and(|left| left.is_zero())
}

/// A pod made from a template for its controlling owner, named by the server.
pub(crate) fn from_template<O: Kind>(owner: &O, template: &PodTemplateSpec) -> core::Pod {
    let from = template.metadata.clone().unwrap_or_default();
    let name = owner.meta().name.as_deref().unwrap_or_default();
    core::Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: owner.meta().namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![reference_to(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The pods in the order in which they go when there are too many: unassigned, pending, not ready,
/// cheap to delete, crowded on a node, young, restarted often, new. Ages count by powers of two, so
/// that the youngest are not always hit; `related` are the pods that share the owner's owner.
pub(crate) fn by_deletion_rank(
    pods: &[Arc<Pod>],
    related: &[Arc<Pod>],
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut crowd: BTreeMap<&str, i64> = BTreeMap::new();
    for node in related.iter().filter(|pod| is_active(pod)).filter_map(|pod| node_of(pod)) {
        *crowd.entry(node).or_default() += 1;
    }
    let mut sorted = pods.to_vec();
    sorted.sort_by_cached_key(|pod| {
        let crowded = node_of(pod).and_then(|node| crowd.get(node)).copied().unwrap_or(0);
        (
            (node_of(pod).is_some(), phase_rank(pod), is_ready(pod), deletion_cost(pod)),
            (-crowded, age_rank(ready_since(pod), now), -restarts(pod)),
            age_rank(pod.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
            pod.metadata.uid.clone(),
        )
    });
    sorted
}

/// The pods in the order in which they go where neither cost nor crowds matter: unassigned, pending, not ready, ready since
/// lately, restarted often, new.
pub(crate) fn by_usefulness(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let mut sorted = pods.to_vec();
    sorted.sort_by_cached_key(|pod| {
        (
            (node_of(pod).is_some(), phase_rank(pod), is_ready(pod)),
            (ready_since(pod).map(Reverse), Reverse(restarts(pod))),
            pod.metadata.creation_timestamp.as_ref().map(|time| Reverse(time.0)),
        )
    });
    sorted
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let text = annotation(&pod.metadata, DELETION_COST).unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// The power of two that an age in nanoseconds reaches; a time that is not known counts as young.
fn age_rank(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let age_ns = since.map_or(0, |since| now.as_nanosecond() - since.as_nanosecond());
    u128::try_from(age_ns).ok().and_then(u128::checked_ilog2).map_or(0, |power| power + 1)
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, pods};

    /// In which order the pods of a sketch would go.
    fn check(sketch: &str, expected: &str) {
        let pods = pods(sketch);
        let sorted = by_deletion_rank(&pods, &pods, at(1_000_000));
        let names: Vec<&str> =
            sorted.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names.join(" "), expected, "{sketch}");
    }

    #[test]
    fn those_who_serve_least_go_first() {
        check("a@1 b", "b a");
        check("a@1 b@2:pending", "b a");
        check("a@1 b@2!", "b a");
        check("a@1 b@2:unknown c@3:pending d", "d c b a");
    }

    #[test]
    fn where_only_usefulness_counts_crowds_and_costs_do_not() {
        let check = |sketch: &str, expected: &str| {
            let sorted = by_usefulness(&pods(sketch));
            let names: Vec<&str> =
                sorted.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
            assert_eq!(names.join(" "), expected, "{sketch}");
        };
        check("a@1~30 b c@2~20:pending d@1~40! e@1~10", "b c d e a");
        check("a@1$5~20 b@2$-1~21 c@1~19", "c a b");
    }

    #[test]
    fn crowded_nodes_and_cheap_pods_go_before_old_ones() {
        check("a@1 b@2 c@2", "b c a");
        check("a@1$5 b@2$-1", "b a");
        check("a@1~900000 b@2~10", "b a");
    }
}
