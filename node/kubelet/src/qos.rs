//! Quality of service: which pods suffer first, and what the kernel is told about it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::amount;
use crate::pod::{self, Role};
use crate::resize;

/// Pods that the node cannot do without.
const NODE_CRITICAL: &str = "system-node-critical";

/// `Guaranteed`, `Burstable` or `BestEffort`. What the pod says of itself as a whole counts instead of its containers.
pub(crate) fn class(pod: &Pod) -> &'static str {
    let of_containers = || pod::containers(pod).map(|(_, it)| it.resources.as_ref()).collect();
    let whole = pod::spec(pod).resources.as_ref();
    let whole = whole.filter(|whole| whole.requests.is_some() || whole.limits.is_some());
    let lists: Vec<Option<&ResourceRequirements>> =
        whole.map_or_else(of_containers, |whole| vec![Some(whole)]);
    let mut says_anything = false;
    let mut is_exact = true;
    for list in lists {
        for resource in ["cpu", "memory"] {
            let of = |all: &Option<BTreeMap<String, Quantity>>| {
                all.as_ref()?.get(resource).and_then(amount::milli)
            };
            let limit = list.and_then(|list| of(&list.limits));
            let request = list.and_then(|list| of(&list.requests)).or(limit).unwrap_or(0);
            let limit = limit.unwrap_or(0);
            says_anything |= request > 0 || limit > 0;
            is_exact &= limit > 0 && request == limit;
        }
    }
    match (says_anything, is_exact) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// How eagerly the kernel kills the container when memory runs out. Values below that of the agent need
/// CAP_SYS_RESOURCE; the runtime clamps them where that is missing (upstream: pkg/kubelet/qos/policy.go).
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, capacity_bytes: u64) -> i64 {
    if pod::spec(pod).priority_class_name.as_deref() == Some(NODE_CRITICAL) {
        return -997;
    }
    match class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1_000,
        _ => burstable_score(pod, container, capacity_bytes),
    }
}

/// The less, the more of the machine's memory the container asks for. What only the whole pod asks for is its containers' in
/// equal parts, and a sidecar stays as long as those that it is for.
fn burstable_score(pod: &Pod, container: &Container, capacity_bytes: u64) -> i64 {
    let own = |container: &Container| {
        amount::request(container, "memory").and_then(amount::units).unwrap_or(0)
    };
    let whole = amount::request_of_all(pod, "memory").and_then(amount::units).unwrap_or(0);
    let rest = whole.saturating_sub(resize::together(pod, own));
    let each = rest / u64::try_from(pod::containers(pod).count().max(1)).unwrap_or(u64::MAX);
    let score = |request: u64| {
        let request = u128::from(request) + u128::from(each);
        let part = 1_000 * request / u128::from(capacity_bytes.max(1));
        1_000 - i64::try_from(part).unwrap_or(1_000)
    };
    let is_sidecar = pod::container(pod, &container.name).is_some_and(|it| it.0 == Role::Sidecar);
    let least = pod::spec(pod).containers.iter().map(own).min().filter(|_| is_sidecar);
    let request = own(container).max(least.unwrap_or(0));
    score(request).clamp(3, 999)
}

/// Path of the pod's cgroup under the node's root.
pub(crate) fn cgroup_path(root: &str, pod: &Pod) -> String {
    let uid = pod::uid(pod);
    match class(pod) {
        "Guaranteed" => format!("{root}/kubepods/pod{uid}"),
        "Burstable" => format!("{root}/kubepods/burstable/pod{uid}"),
        _ => format!("{root}/kubepods/besteffort/pod{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;
    use serde_json::{Value, json};

    use super::*;

    /// `REQUESTS / LIMITS`, each `cpu,memory` with `-` for nothing; containers separated by `;`.
    fn pod_of(text: &str) -> Pod {
        let amounts = |text: &str| {
            let named = ["cpu", "memory"].into_iter().zip(text.split(','));
            let said = named.filter(|(_, value)| *value != "-");
            Some(said.map(|(name, value)| (name.to_owned(), Quantity(value.to_owned()))).collect())
        };
        let containers = text.split("; ").map(|each| {
            let (requests, limits) = each.split_once(" / ").unwrap();
            let (requests, limits) = (amounts(requests), amounts(limits));
            let resources = ResourceRequirements { requests, limits, ..Default::default() };
            Container { resources: Some(resources), ..Default::default() }
        });
        let spec = PodSpec { containers: containers.collect(), ..Default::default() };
        Pod { spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn class_follows_requests_and_limits() {
        let check =
            |text: &str, expected: &str| assert_eq!(class(&pod_of(text)), expected, "{text}");
        check("-,- / -,-", "BestEffort");
        check("1,- / -,-", "Burstable");
        check("-,- / 1,1Gi", "Guaranteed");
        check("1,1Gi / 1000m,1024Mi", "Guaranteed");
        check("1,1Gi / 2,1Gi", "Burstable");
        check("1,1Gi / 1,1Gi; -,- / -,-", "Burstable");
    }

    #[test]
    fn memory_hungry_burstable_pods_die_later() {
        let pod = pod_of("-,256Mi / -,-");
        let score = oom_score_adj(&pod, &pod::spec(&pod).containers[0], 1 << 30);
        assert_eq!(score, 750);
    }
    #[test]
    fn what_a_pod_says_as_a_whole_is_its_class() {
        let check = |resources: Value, expected: &str| {
            let spec = json!({"containers": [{"name": "c"}], "resources": resources});
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(class(&pod), expected, "{resources}");
        };
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(
            json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
            "Burstable",
        );
        check(json!({"requests": {"hugepages-2Mi": "2Mi"}}), "BestEffort");
    }

    #[test]
    fn score_counts_what_the_whole_pod_asks_for_and_what_a_sidecar_is_for() {
        let asks = |name: &str, memory: &str| json!({"name": name, "resources": {"requests": {"memory": memory}}});
        let sidecar = json!({"name": "s", "restartPolicy": "Always"});
        let check = |extra: Value, name: &str, expected: i64| {
            let mut spec = json!({"containers": [asks("a", "100"), asks("b", "200")], "initContainers": [sidecar]});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let (_, container) = pod::container(&pod, name).unwrap();
            assert_eq!(oom_score_adj(&pod, container, 1_000), expected, "{extra} {name}");
        };
        check(json!({}), "b", 800);
        check(json!({}), "s", 900);
        let whole = json!({"resources": {"requests": {"memory": "600"}}});
        check(whole.clone(), "b", 700);
        check(whole, "s", 800);
        check(json!({"priorityClassName": "system-node-critical"}), "a", -997);
    }
}
