//! Publishes, for each service with a selector, the addresses of its pods as one Endpoints object.
//!
//! Kept for clients that read no EndpointSlices.
//!
//! Watches: `Service`, `Pod`, `Endpoints`. Writes: `Endpoints`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service,
};
use kube::core::ObjectMeta;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{is_terminating, label, namespace_of, selects};
use crate::pods;
use crate::service_pods::{self, Port};
use master_client::pod::Pod;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object at most; more are in the slices only.
const ADDRESSES_MAX: usize = 1000;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let services = cx.informers.services.clone();
    Controller::new(MANAGER, cx, group)
        .of(&cx.informers.services)
        .of(&cx.informers.endpoints)
        .watches(&cx.informers.pods, move |pod| service_pods::services_of(&services, &pod.metadata))
        .run(4, reconcile);
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let known = cx.informers.endpoints.get(&key);
    let Some(service) = cx.informers.services.get(&key) else {
        if let Some(known) =
            known.filter(|known| label(&known.metadata, MANAGED_BY) == Some(MANAGER))
        {
            cx.delete(&*known).await.or_gone()?;
        }
        return Ok(Requeue::OnChange);
    };
    let Some(selector) = service_pods::selector(&service) else { return Ok(Requeue::OnChange) };
    let namespace = namespace_of(&service.metadata);
    let mut pods = cx.informers.pods.list_in(namespace);
    pods.retain(|pod| selects(&selector, &pod.metadata));
    let wanted = plan(&service, &pods, known.as_deref());
    match known {
        None => match cx.create(&wanted).await {
            Err(error) if error.is_namespace_terminating() => {}
            result => drop(result?),
        },
        Some(known) if *known != wanted => drop(cx.replace(&wanted).await?),
        Some(_) => {}
    }
    Ok(Requeue::OnChange)
}

/// The object as it should be, with the metadata of the one that is there.
fn plan(service: &Service, pods: &[Arc<Pod>], known: Option<&Endpoints>) -> Endpoints {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if service_pods::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let (subsets, is_cut) = subsets(service, pods);
    let mut metadata = match known {
        Some(known) => known.metadata.clone(),
        None => ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
    };
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    if is_cut {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    Endpoints { metadata, subsets: Some(subsets).filter(|subsets| !subsets.is_empty()) }
}

/// The addresses by the ports they are reached at, and whether some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let all = service_pods::publishes_all(service);
    let has_ports =
        service.spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten().count() > 0;
    // (ready, not ready) by ports
    let mut found: BTreeMap<Vec<Port>, [Vec<EndpointAddress>; 2]> = BTreeMap::new();
    for pod in pods {
        let Some(ip) = service_pods::address(pod) else { continue };
        if is_terminating(&pod.metadata) && !all {
            continue;
        }
        let ports = service_pods::ports(service, pod);
        if ports.is_empty() && has_ports || !has_ports && !service_pods::is_headless(service) {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: service_pods::hostname(service, pod),
            node_name: pods::node_of(pod).map(str::to_owned),
            target_ref: Some(service_pods::reference(pod)),
        };
        let is_ready = all || pods::is_ready(pod);
        found.entry(ports).or_default()[usize::from(!is_ready)].push(address);
    }
    let total: usize = found.values().flatten().map(Vec::len).sum();
    let mut room = ADDRESSES_MAX;
    // Ready ones have the first claim.
    for part in 0..2 {
        for addresses in found.values_mut() {
            addresses[part].sort_by(|a, b| a.ip.cmp(&b.ip));
            addresses[part].truncate(room);
            room -= addresses[part].len();
        }
    }
    let list =
        |addresses: Vec<EndpointAddress>| Some(addresses).filter(|addresses| !addresses.is_empty());
    let subset = |(ports, [ready, not_ready]): (Vec<Port>, [Vec<EndpointAddress>; 2])| {
        let ports: Vec<EndpointPort> = ports.into_iter().map(endpoint_port).collect();
        EndpointSubset {
            addresses: list(ready),
            not_ready_addresses: list(not_ready),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
        }
    };
    (found.into_iter().map(subset).collect(), total > ADDRESSES_MAX)
}

fn endpoint_port(port: Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name).filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{object, pods};

    fn service(spec: Value) -> Service {
        object(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
    }

    fn with_addresses(sketch: &str) -> Vec<Arc<Pod>> {
        let address = |(place, pod): (usize, &Arc<Pod>)| {
            let mut pod = (**pod).clone();
            pod.status.get_or_insert_default().pod_ip = Some(format!("10.0.0.{}", place + 1));
            Arc::new(pod)
        };
        pods(sketch).iter().enumerate().map(address).collect()
    }

    /// `ready|not ready` by last byte
    fn check(spec: Value, sketch: &str, expected: &str) {
        let (subsets, _) = subsets(&service(spec), &with_addresses(sketch));
        let join = |list: &Option<Vec<EndpointAddress>>| {
            let ends = list.iter().flatten().map(|address| address.ip.replace("10.0.0.", ""));
            ends.collect::<Vec<_>>().join(",")
        };
        let words = subsets.iter().map(|subset| {
            format!("{}|{}", join(&subset.addresses), join(&subset.not_ready_addresses))
        });
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "{sketch}");
    }

    #[test]
    fn pods_are_ready_not_ready_or_left_out() {
        let plain = json!({"ports": [{"port": 80}], "selector": {"app": "web"}});
        check(plain.clone(), "a b! c- d:failed", "1|2");
        check(plain, "", "");
        let all = json!({"ports": [{"port": 80}], "publishNotReadyAddresses": true});
        check(all, "a b! c- d:failed", "1,2,3|");
        check(json!({"clusterIP": "None"}), "a", "1|");
        check(json!({"clusterIP": "10.96.0.9"}), "a", "");
        let named = json!({"ports": [{"port": 80, "targetPort": "absent"}]});
        check(named, "a", "");
    }

    #[test]
    fn too_many_addresses_are_cut_and_that_is_said() {
        let many: Vec<Arc<Pod>> = (0..1_100)
            .map(|n| {
                let mut pod = (*with_addresses("a")[0]).clone();
                let status = pod.status.get_or_insert_default();
                status.pod_ip = Some(format!("10.1.{}.{}", n / 250, n % 250));
                Arc::new(pod)
            })
            .collect();
        let object = plan(&service(json!({"ports": [{"port": 80}]})), &many, None);
        let annotations = object.metadata.annotations.unwrap();
        assert_eq!(annotations[OVER_CAPACITY], "truncated");
        assert_eq!(object.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), ADDRESSES_MAX);
    }
}
