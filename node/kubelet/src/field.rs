//! What a pod may say about itself to its containers: fields of the object, amounts of resources.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::amount;
use crate::pod;

/// What fields can refer to beyond the pod object.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) host_ip: IpAddr,
    pub(crate) pod_ips: Vec<IpAddr>,
    /// Allocatable of the node: the limit of a container that has none.
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
}

/// The value of a field path such as `metadata.labels['app']`; `None` for an unknown path.
pub(crate) fn field(pod: &Pod, path: &str, facts: &Facts) -> Option<String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => pod::labels(pod),
            "metadata.annotations" => pod::annotations(pod),
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    let spec = pod::spec(pod);
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    Some(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => quoted(&pod::labels(pod)),
        "metadata.annotations" => quoted(&pod::annotations(pod)),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.to_string(),
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => {
            facts.pod_ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
        }
        _ => return None,
    })
}

/// `key="value"` lines, the values escaped as Go does.
fn quoted(map: &std::collections::BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (key, value) in map {
        let end = if out.is_empty() { "" } else { "\n" };
        write!(out, "{end}{key}={value:?}").expect("a string takes it");
    }
    out
}

/// The value of `limits.cpu` and the like, in units of the divisor, rounded up.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Option<String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => pod::container(pod, name)?.1,
        None => own?,
    };
    let (kind, resource) = selector.resource.split_once('.')?;
    let quantity = match kind {
        "limits" => amount::limit(container, resource),
        "requests" => amount::request(container, resource),
        _ => return None,
    };
    let divisor = selector.divisor.as_ref().filter(|divisor| divisor.0 != "0");
    if resource == "cpu" {
        let node = (kind == "limits").then_some(facts.cpu_milli);
        let value = quantity.and_then(amount::milli).or(node).unwrap_or(0);
        let unit = divisor.and_then(amount::milli).unwrap_or(1_000).max(1);
        return Some(value.div_ceil(unit).to_string());
    }
    let node = (kind == "limits" && resource == "memory").then_some(facts.memory_bytes);
    let value = quantity.and_then(amount::units).or(node).unwrap_or(0);
    let unit = divisor.and_then(amount::units).unwrap_or(1).max(1);
    Some(value.div_ceil(unit).to_string())
}
