//! Publishes, for each service with a selector, its pods' addresses in slices of at most 100.
//!
//! Watches: `Service`, `Pod`, `EndpointSlice`. Writes: `EndpointSlice`.
//!
//! # Invariants
//! - An endpoint that stays wanted stays in its slice: one pod's change rewrites one slice.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::core::ObjectMeta;
use master_client::informer::Store;
use master_client::pod::Pod;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{is_terminating, label, name_of, namespace_of, reference_to, selects};
use crate::pods;
use crate::service_pods::{self, Port};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
const ENDPOINTS_MAX: usize = 100;
const WRITES_AT_ONCE: usize = 16;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let services = cx.informers.services.clone();
    Controller::new("endpoint-slice-controller", cx, group)
        .of(&cx.informers.services)
        .watches(&cx.informers.pods, move |pod| service_pods::services_of(&services, &pod.metadata))
        .watches(&cx.informers.endpoint_slices, |slice| service_of(&slice.metadata))
        .run(4, reconcile);
}

/// The key of the service that one of our slices is for.
fn service_of(slice: &ObjectMeta) -> Vec<String> {
    let service = label(slice, SERVICE_NAME).filter(|_| label(slice, MANAGED_BY) == Some(MANAGER));
    service.map(|name| format!("{}/{name}", namespace_of(slice))).into_iter().collect()
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    // Slices of a service that is gone go with it: it owns them.
    let Some(service) = cx.informers.services.get(&key) else { return Ok(Requeue::OnChange) };
    let Some(selector) = service_pods::selector(&service) else { return Ok(Requeue::OnChange) };
    if is_terminating(&service.metadata) {
        return Ok(Requeue::OnChange);
    }
    let namespace = namespace_of(&service.metadata);
    let mut pods = cx.informers.pods.list_in(namespace);
    pods.retain(|pod| selects(&selector, &pod.metadata));
    let mut known = cx.informers.endpoint_slices.list_in(namespace);
    known.retain(|slice| service_of(&slice.metadata).contains(&key));
    let steps = plan(&service, &pods, &known, &cx.informers.nodes);
    let acts = steps.into_iter().map(|step| act(&cx, step));
    let acted: Vec<Result<(), Error>> =
        stream::iter(acts).buffer_unordered(WRITES_AT_ONCE).collect().await;
    acted.into_iter().collect::<Result<(), Error>>()?;
    Ok(Requeue::OnChange)
}

async fn act(cx: &Cx, step: Step) -> Result<(), Error> {
    match step {
        Step::Create(slice) => match cx.create(&slice).await {
            Err(error) if error.is_namespace_terminating() => Ok(()),
            result => result.map(drop),
        },
        Step::Write(slice) => cx.replace(&slice).await.map(drop),
        Step::Delete(slice) => cx.delete(&*slice).await.or_gone(),
    }
}

/// One write.
#[derive(Clone, Debug)]
enum Step {
    Create(EndpointSlice),
    Write(EndpointSlice),
    Delete(Arc<EndpointSlice>),
}

/// Endpoints that share address type and ports, by the pod's uid.
type Wanted = BTreeMap<(String, Vec<Port>), BTreeMap<String, Endpoint>>;

fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    known: &[Arc<EndpointSlice>],
    nodes: &Store<Node>,
) -> Vec<Step> {
    let mut wanted = wanted(service, pods, nodes);
    if wanted.is_empty() {
        // One empty slice says "nobody", where none would say "not looked at yet".
        wanted.insert((family_of(service), Vec::new()), BTreeMap::new());
    }
    let labels = labels(service);
    let mut steps = Vec::new();
    for slice in known {
        if !wanted.keys().any(|group| *group == group_of(slice)) {
            steps.push(Step::Delete(slice.clone()));
        }
    }
    for (group, endpoints) in wanted {
        let same: Vec<&Arc<EndpointSlice>> =
            known.iter().filter(|slice| group_of(slice) == group).collect();
        steps.extend(fill(service, &labels, group, endpoints, &same));
    }
    steps
}

/// Spreads the endpoints of one group over its slices.
fn fill(
    service: &Service,
    labels: &BTreeMap<String, String>,
    (family, ports): (String, Vec<Port>),
    mut wanted: BTreeMap<String, Endpoint>,
    known: &[&Arc<EndpointSlice>],
) -> Vec<Step> {
    let mut slices: Vec<EndpointSlice> = known.iter().map(|slice| (***slice).clone()).collect();
    let uid = |endpoint: &Endpoint| {
        endpoint.target_ref.as_ref().and_then(|pod| pod.uid.clone()).unwrap_or_default()
    };
    for slice in &mut slices {
        let kept = slice.endpoints.iter().flatten();
        slice.endpoints = Some(kept.filter_map(|known| wanted.remove(&uid(known))).collect());
        slice.metadata.labels = Some(labels.clone());
    }
    let mut left = wanted.into_values();
    // What is new goes where something changes anyway, then where there is room.
    let mut places: Vec<usize> = (0..slices.len()).collect();
    places.sort_by_key(|&place| slices[place] == **known[place]);
    for place in places {
        let endpoints = slices[place].endpoints.get_or_insert_default();
        let room = ENDPOINTS_MAX.saturating_sub(endpoints.len());
        endpoints.extend(left.by_ref().take(room));
    }
    let is_empty = |slice: &EndpointSlice| slice.endpoints.iter().flatten().next().is_none();
    let mut steps = Vec::new();
    let full = slices.iter().filter(|slice| !is_empty(slice)).count();
    let mut spare = usize::from(full == 0); // an empty slice that stays as the sign of "nobody"
    for (slice, known) in slices.into_iter().zip(known) {
        if is_empty(&slice) && left.len() == 0 {
            if spare == 0 {
                steps.push(Step::Delete((*known).clone()));
                continue;
            }
            spare -= 1;
        }
        if slice != ***known {
            steps.push(Step::Write(slice));
        }
    }
    let left: Vec<Endpoint> = left.collect();
    let mut chunks: Vec<Vec<Endpoint>> = left.chunks(ENDPOINTS_MAX).map(<[_]>::to_vec).collect();
    if chunks.is_empty() && known.is_empty() {
        chunks.push(Vec::new());
    }
    for endpoints in chunks {
        steps.push(Step::Create(new_slice(service, labels, &family, &ports, endpoints)));
    }
    steps
}

fn new_slice(
    service: &Service,
    labels: &BTreeMap<String, String>,
    family: &str,
    ports: &[Port],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name_of(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![reference_to(service)]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.iter().map(slice_port).collect()),
    }
}

fn slice_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn group_of(slice: &EndpointSlice) -> (String, Vec<Port>) {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port.unwrap_or(0),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    (slice.address_type.clone(), ports)
}

fn family_of(service: &Service) -> String {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    families.and_then(|all| all.first().cloned()).unwrap_or_else(|| "IPv4".to_owned())
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service_pods::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), name_of(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn wanted(service: &Service, pods: &[Arc<Pod>], nodes: &Store<Node>) -> Wanted {
    let has_ports =
        service.spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten().count() > 0;
    let mut wanted = Wanted::new();
    for pod in pods {
        let Some(address) = service_pods::address(pod) else { continue };
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        let ports = service_pods::ports(service, pod);
        if ports.is_empty() && has_ports {
            continue;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let endpoint = endpoint(service, pod, address, nodes);
        wanted.entry((family.to_owned(), ports)).or_default().insert(uid, endpoint);
    }
    wanted
}

fn endpoint(service: &Service, pod: &Pod, address: &str, nodes: &Store<Node>) -> Endpoint {
    let is_going = is_terminating(&pod.metadata);
    let serves = pods::is_ready(pod);
    let node = pods::node_of(pod).and_then(|name| nodes.get(name));
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(service_pods::publishes_all(service) || (serves && !is_going)),
            serving: Some(serves),
            terminating: Some(is_going),
        }),
        hostname: service_pods::hostname(service, pod),
        node_name: pods::node_of(pod).map(str::to_owned),
        target_ref: Some(service_pods::reference(pod)),
        zone: node.and_then(|node| label(&node.metadata, ZONE).map(str::to_owned)),
        ..Endpoint::default()
    }
}

#[cfg(test)]
#[path = "endpoint_slices/tests.rs"]
mod tests;
