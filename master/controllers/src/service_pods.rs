//! Which pods stand behind a service, at which addresses and ports. Pure.
//!
//! Shared by the two controllers that publish them: Endpoints and EndpointSlices.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use master_api::selector::LabelSelector;
use master_client::informer::{Store, key_of};
use master_client::pod::{Container, Pod};

use crate::owner::{namespace_of, selects};
use crate::pods;

/// One port, as it is on a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) number: i32,
    pub(crate) app_protocol: Option<String>,
}

/// The pods that a service picks; `None` if it does not pick any (no selector, or a mere name).
pub(crate) fn selector(service: &Service) -> Option<LabelSelector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    Some(LabelSelector::from_map(&serde_json::to_value(labels).ok()?))
}

/// The keys of the services that pick this pod.
pub(crate) fn services_of(services: &Store<Service>, pod: &ObjectMeta) -> Vec<String> {
    let picks = |service: &Arc<Service>| selector(service).is_some_and(|s| selects(&s, pod));
    let all = services.list_in(namespace_of(pod));
    all.into_iter().filter(picks).map(|service| key_of(&*service)).collect()
}

pub(crate) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Ready or not, publish them all (peers that must find each other to get ready).
pub(crate) fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true))
}

/// The pod's address; none before it has one and after it has ended.
pub(crate) fn address(pod: &Pod) -> Option<&str> {
    if pods::is_terminal(pod) {
        return None;
    }
    pod.status.as_ref()?.pod_ip.as_deref().filter(|address| !address.is_empty())
}

/// The host name that DNS gives the pod under this service.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_under = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| is_under && !hostname.is_empty())
}

pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The service's ports on this pod. A named port that the pod lacks is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let wanted = service.spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten();
    let mut ports: Vec<Port> = wanted.filter_map(|port| resolve(port, pod)).collect();
    ports.sort();
    ports
}

fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
    };
    let name = port.name.clone().unwrap_or_default();
    Some(Port { name, protocol, number, app_protocol: port.app_protocol.clone() })
}

/// A container's port by name; sidecars (init containers that go on) count.
fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let all = spec.containers.iter().chain(sidecars);
    all.flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            let of_port = port.protocol.as_deref().unwrap_or("TCP");
            port.name.as_deref() == Some(name) && of_port == protocol
        })
        .map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let service: Service = object(json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"},
            {"name": "raw", "port": 9, "targetPort": 1009}, {"name": "same", "port": 7}]}}));
        let pod: Pod = object(json!({"spec": {"containers": [
            {"name": "c", "ports": [{"name": "web", "containerPort": 8080},
                {"name": "dns", "containerPort": 5353}]}]}}));
        let found: Vec<String> =
            ports(&service, &pod).iter().map(|p| format!("{}:{}", p.name, p.number)).collect();
        assert_eq!(found, ["http:8080", "raw:1009", "same:7"], "the pod's dns port is TCP");
    }

    #[test]
    fn only_living_pods_of_services_with_a_selector_count() {
        let service = |spec| object::<Service>(json!({"spec": spec}));
        assert!(selector(&service(json!({}))).is_none());
        assert!(selector(&service(json!({"selector": {}}))).is_none());
        let external = json!({"selector": {"a": "b"}, "type": "ExternalName"});
        assert!(selector(&service(external)).is_none());
        assert!(selector(&service(json!({"selector": {"a": "b"}}))).is_some());
        let pod = |phase| object::<Pod>(json!({"status": {"phase": phase, "podIP": "10.0.0.1"}}));
        assert_eq!(address(&pod("Running")), Some("10.0.0.1"));
        assert_eq!(address(&pod("Failed")), None);
    }
}
