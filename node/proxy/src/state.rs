//! What the services of the cluster mean for this node, as a pure function of its informers' stores.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The label that ties a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Upstream's default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_DEFAULT_S: u32 = 10_800;

/// What this node must know of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names the nft table: `tri-<cluster id>`.
    pub cluster_id: String,
    pub node_name: String,
    /// Node ports are served on this address.
    pub node_ip: Ipv4Addr,
    /// `10.244.0.0/16`
    pub pod_cidr: String,
    /// `10.96.0.0/16`
    pub service_cidr: String,
    /// Answered by the agent itself, never redirected.
    pub cluster_dns: Ipv4Addr,
}

/// A transport that services can have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As Kubernetes and nft write it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

/// Where a connection may end.
pub type Target = (Ipv4Addr, u16);

/// Where connections arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// A virtual address; `None` is a node port.
    pub address: Option<Ipv4Addr>,
    pub protocol: Protocol,
    pub port: u16,
}

/// What happens to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    pub targets: BTreeSet<Target>,
    /// Keep a client with its target for so long.
    pub affinity_s: Option<u32>,
    /// The source address is kept: only targets on this node are used.
    pub keeps_source: bool,
}

/// All fronts of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub fronts: BTreeMap<Front, Back>,
}

/// Reads services and slices.
pub fn build<'a>(
    config: &Config,
    services: impl Iterator<Item = &'a Service>,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> State {
    let mut slices_of: BTreeMap<(String, String), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type == "IPv4") {
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            slices_of.entry((namespace, service.clone())).or_default().push(slice);
        }
    }
    let mut state = State::default();
    for service in services {
        let meta = &service.metadata;
        let key =
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let slices = slices_of.get(&key).map(Vec::as_slice).unwrap_or_default();
        add_service(&mut state, config, service, slices);
    }
    state
}

fn add_service(state: &mut State, config: &Config, service: &Service, slices: &[&EndpointSlice]) {
    let Some(spec) = &service.spec else { return };
    if spec.type_.as_deref() == Some("ExternalName") {
        return;
    }
    let addresses = virtual_addresses(config, service);
    let affinity_s = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref());
        let seconds = config.and_then(|it| it.timeout_seconds);
        seconds.and_then(|it| u32::try_from(it).ok()).unwrap_or(AFFINITY_DEFAULT_S)
    });
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        let Some(number) = port_number(port.port) else { continue };
        let everywhere = targets(port, slices, None);
        let here = targets(port, slices, Some(&config.node_name));
        let pick = |local: bool| if local { here.clone() } else { everywhere.clone() };
        for (address, is_internal) in &addresses {
            let local = if *is_internal { internal_local } else { external_local };
            state.fronts.insert(
                Front { address: Some(*address), protocol, port: number },
                Back { targets: pick(local), affinity_s, keeps_source: !is_internal && local },
            );
        }
        if let Some(node_port) = port.node_port.and_then(port_number) {
            state.fronts.insert(
                Front { address: None, protocol, port: node_port },
                Back { targets: pick(external_local), affinity_s, keeps_source: external_local },
            );
        }
    }
}

/// The addresses of a service, and whether each is internal (a cluster IP).
fn virtual_addresses(config: &Config, service: &Service) -> Vec<(Ipv4Addr, bool)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let parse = |text: &String| text.parse::<Ipv4Addr>().ok();
    let internal = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).filter_map(parse);
    let balancers = service.status.iter().flat_map(|status| &status.load_balancer);
    let ingress =
        balancers.flat_map(|it| it.ingress.iter().flatten()).filter_map(|it| it.ip.as_ref());
    let external = spec.external_ips.iter().flatten().chain(ingress).filter_map(parse);
    let mut addresses: Vec<(Ipv4Addr, bool)> = internal
        .map(|address| (address, true))
        .chain(external.map(|address| (address, false)))
        .filter(|(address, _)| *address != config.cluster_dns)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The ready targets of a port; if none is ready, those that end but still serve (KEP-1669).
fn targets(port: &ServicePort, slices: &[&EndpointSlice], node: Option<&str>) -> BTreeSet<Target> {
    let mut ready = BTreeSet::new();
    let mut ending = BTreeSet::new();
    for slice in slices {
        for number in target_ports(port, slice) {
            for endpoint in slice.endpoints.iter().flatten() {
                if node.is_some_and(|node| endpoint.node_name.as_deref() != Some(node)) {
                    continue;
                }
                let to = match readiness(endpoint) {
                    Readiness::Ready => &mut ready,
                    Readiness::Ending => &mut ending,
                    Readiness::No => continue,
                };
                let addresses = endpoint.addresses.iter().filter_map(|it| it.parse().ok());
                to.extend(addresses.map(|address: Ipv4Addr| (address, number)));
            }
        }
    }
    if ready.is_empty() { ending } else { ready }
}

/// The port numbers of a slice that belong to a service's port: those of the same name.
fn target_ports(port: &ServicePort, slice: &EndpointSlice) -> Vec<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = Protocol::parse(port.protocol.as_deref());
    let same = slice.ports.iter().flatten().filter(|it| {
        it.name.as_deref().unwrap_or_default() == name
            && Protocol::parse(it.protocol.as_deref()) == protocol
    });
    same.filter_map(|it| it.port.and_then(port_number)).collect()
}

enum Readiness {
    Ready,
    Ending,
    No,
}

fn readiness(endpoint: &Endpoint) -> Readiness {
    let Some(conditions) = &endpoint.conditions else { return Readiness::Ready };
    if conditions.ready.unwrap_or(true) {
        return Readiness::Ready;
    }
    let ends = conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(false);
    if ends { Readiness::Ending } else { Readiness::No }
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests;
