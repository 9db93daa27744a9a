//! Quality of service: which pods suffer first, and what the kernel is told about it.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::amount;
use crate::pod;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(pod: &Pod) -> &'static str {
    let mut says_anything = false;
    let mut is_exact = true;
    for (_, container) in pod::containers(pod) {
        for resource in ["cpu", "memory"] {
            let request = amount::request(container, resource).and_then(amount::milli);
            let limit = amount::limit(container, resource).and_then(amount::milli);
            let (request, limit) = (request.unwrap_or(0), limit.unwrap_or(0));
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
/// CAP_SYS_RESOURCE; the runtime clamps them where that is missing.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, capacity_bytes: u64) -> i64 {
    match class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1_000,
        _ => {
            let request = amount::request(container, "memory").and_then(amount::units);
            let request = u128::from(request.unwrap_or(0));
            let part = 1_000 * request / u128::from(capacity_bytes.max(1));
            (1_000 - i64::try_from(part).unwrap_or(1_000)).clamp(3, 999)
        }
    }
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
    use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

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
}
