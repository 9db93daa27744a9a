//! A node with the pods that are on it or were promised to it, and what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod::{HostPort, Labels, PodInfo};
use crate::resources::Resources;

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// What scheduling needs to know of a node.
#[derive(Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    /// Its number, for look-ups that would be slow by name.
    pub(crate) slot: usize,
    /// Unknown while only its pods were seen: such a node takes nothing.
    pub(crate) is_known: bool,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) is_unschedulable: bool,
    pub(crate) allocatable: Resources,
    /// Bytes of the images it has.
    pub(crate) images: BTreeMap<String, i64>,
    pub(crate) pods: BTreeMap<String, Arc<PodInfo>>,
    pub(crate) used: Resources,
    pub(crate) used_guess: Resources,
    ports: BTreeMap<HostPort, usize>,
    /// Pods here with rules about other pods.
    pub(crate) ruled: usize,
}

impl NodeInfo {
    pub(crate) fn named(name: &str, slot: usize) -> Self {
        Self { name: name.to_owned(), slot, ..Self::default() }
    }

    /// Takes over what the object says. Returns whether that matters to pods that wait.
    pub(crate) fn read(&mut self, node: &Node) -> bool {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let is_unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
        let status = node.status.as_ref();
        let amounts =
            status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        let allocatable = amounts.map(Resources::read).unwrap_or_default();
        let images = status.iter().flat_map(|status| status.images.iter().flatten());
        self.images = images
            .flat_map(|image| {
                let names = image.names.iter().flatten();
                names.map(|name| (name.clone(), image.size_bytes.unwrap_or_default()))
            })
            .collect();
        let is_same = self.is_known
            && self.labels == labels
            && same_taints(&self.taints, &taints)
            && self.is_unschedulable == is_unschedulable
            && self.allocatable == allocatable;
        (self.labels, self.taints, self.allocatable) = (labels, taints, allocatable);
        (self.is_unschedulable, self.is_known) = (is_unschedulable, true);
        !is_same
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.key);
        self.used.add(&pod.request);
        self.used_guess.add(&pod.guess);
        for port in &pod.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        self.ruled += usize::from(has_rules(&pod));
        self.pods.insert(pod.key.clone(), pod);
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.used.subtract(&pod.request);
        self.used_guess.subtract(&pod.guess);
        for port in &pod.ports {
            let count = self.ports.get_mut(port).expect("counted when the pod was added");
            *count -= 1;
            if *count == 0 {
                self.ports.remove(port);
            }
        }
        self.ruled -= usize::from(has_rules(&pod));
        Some(pod)
    }

    /// Whether none of these ports of the node is taken; an empty address is every address.
    pub(crate) fn has_free(&self, ports: &[HostPort]) -> bool {
        ports.iter().all(|(address, protocol, number)| {
            !self.ports.keys().any(|(taken, of, at)| {
                of == protocol
                    && at == number
                    && (taken == address || taken.is_empty() || address.is_empty())
            })
        })
    }

    pub(crate) fn zone(&self) -> &str {
        self.labels.get(ZONE).map_or("", String::as_str)
    }
}

/// The moment a taint was added does not matter to a scheduler.
fn same_taints(old: &[Taint], new: &[Taint]) -> bool {
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(a, b)| a.key == b.key && a.value == b.value && a.effect == b.effect)
}

pub(crate) fn has_rules(pod: &PodInfo) -> bool {
    let terms = [&pod.affinity, &pod.anti_affinity];
    terms.iter().any(|terms| !terms.required.is_empty() || !terms.preferred.is_empty())
}
