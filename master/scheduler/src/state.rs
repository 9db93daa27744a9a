//! The cluster as the scheduler sees it: nodes, the pods on them, and pods promised to them.
//!
//! Kept up to date change by change, so that a cycle copies nothing.
//!
//! # Invariants
//! - A pod is on at most one node here.
//! - An assumed pod stays where it was put until it is seen bound, seen gone, or forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::node::{NodeInfo, has_rules};
use crate::pod::{Labels, PodInfo};

/// How long a node where a controller's pod failed is avoided by the controller's next pods.
const FAILURE_MEMORY_MS: u64 = 5 * 60 * 1000;
/// Failures remembered at most.
const FAILURES_MAX: usize = 10_000;

/// Where the pods of one controller are.
#[derive(Debug, Default)]
pub(crate) struct OwnerSpread {
    /// By [`NodeInfo::slot`].
    pub(crate) nodes: BTreeMap<usize, i64>,
    pub(crate) zones: BTreeMap<String, i64>,
}

/// Everything a cycle looks at.
#[derive(Debug, Default)]
pub(crate) struct State {
    nodes: Vec<NodeInfo>,
    by_name: BTreeMap<String, usize>,
    /// Known nodes, zones taking turns: wherever a sample starts, it sees all zones.
    order: Vec<usize>,
    is_order_stale: bool,
    /// The node of every pod here.
    places: BTreeMap<String, usize>,
    assumed: BTreeSet<String>,
    owners: BTreeMap<String, OwnerSpread>,
    namespaces: BTreeMap<String, Labels>,
    nominated: BTreeMap<String, BTreeMap<String, Arc<PodInfo>>>,
    /// By controller and node, the last moment a pod failed there.
    failures: BTreeMap<(String, String), u64>,
    /// Pods with rules about other pods.
    ruled: usize,
    pub(crate) now_ms: u64,
}

impl State {
    /// How many nodes can be looked at.
    pub(crate) fn node_count(&self) -> usize {
        self.order.len()
    }

    /// Nodes in the order of the zones' turns, beginning at any place.
    pub(crate) fn nodes_from(&self, start: usize) -> impl Iterator<Item = &NodeInfo> {
        let (first, second) = self.order.split_at(start % self.order.len().max(1));
        second.iter().chain(first).map(|index| &self.nodes[*index])
    }

    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|index| &self.nodes[*index])
    }

    /// Puts zones in turns again if nodes came or went. To be called before a cycle.
    pub(crate) fn refresh(&mut self) {
        if !std::mem::take(&mut self.is_order_stale) {
            return;
        }
        let mut zones: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for index in self.by_name.values().rev().filter(|index| self.nodes[**index].is_known) {
            zones.entry(self.nodes[*index].zone()).or_default().push(*index);
        }
        let mut order = Vec::with_capacity(self.by_name.len());
        while !zones.is_empty() {
            zones.retain(|_, nodes| {
                order.extend(nodes.pop());
                !nodes.is_empty()
            });
        }
        self.order = order;
    }

    /// Takes over a node. Returns whether waiting pods may profit.
    pub(crate) fn put_node(&mut self, node: &Node) -> bool {
        let name = node.metadata.name.clone().unwrap_or_default();
        let index = self.slot(&name);
        let (old_zone, was_known) =
            (self.nodes[index].zone().to_owned(), self.nodes[index].is_known);
        let changed = self.nodes[index].read(node);
        self.is_order_stale |= !was_known || old_zone != self.nodes[index].zone();
        changed
    }

    /// Forgets a node; pods still on it keep it in mind as unknown.
    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(index) = self.by_name.get(name).copied() else { return };
        let pods = std::mem::take(&mut self.nodes[index].pods);
        self.is_order_stale = true;
        if pods.is_empty() {
            self.by_name.remove(name);
            self.nodes[index] = NodeInfo::default();
            return;
        }
        self.nodes[index] = NodeInfo::named(name, index);
        for pod in pods.into_values() {
            self.nodes[index].add(pod);
        }
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let free = self.nodes.iter().position(|node| node.name.is_empty());
        let index = free.unwrap_or(self.nodes.len());
        if free.is_none() {
            self.nodes.push(NodeInfo::default());
        }
        self.nodes[index] = NodeInfo::named(name, index);
        self.by_name.insert(name.to_owned(), index);
        index
    }

    /// Puts a pod where it is bound (or promised).
    pub(crate) fn put_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.take_pod(&pod.key);
        let index = self.slot(node);
        if let Some(owner) = &pod.owner {
            let spread = self.owners.entry(owner.clone()).or_default();
            *spread.nodes.entry(index).or_default() += 1;
            *spread.zones.entry(self.nodes[index].zone().to_owned()).or_default() += 1;
        }
        self.ruled += usize::from(has_rules(&pod));
        self.places.insert(pod.key.clone(), index);
        self.nodes[index].add(pod);
    }

    /// Takes a pod off its node.
    pub(crate) fn take_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let index = self.places.remove(key)?;
        let pod = self.nodes[index].remove(key)?;
        self.ruled -= usize::from(has_rules(&pod));
        if let Some(owner) = &pod.owner
            && let Some(spread) = self.owners.get_mut(owner)
        {
            let zone = self.nodes[index].zone().to_owned();
            decrease(&mut spread.nodes, &index);
            decrease(&mut spread.zones, &zone);
            if spread.nodes.is_empty() {
                self.owners.remove(owner);
            }
        }
        let node = &self.nodes[index];
        if !node.is_known && node.pods.is_empty() {
            self.by_name.remove(&node.name);
            self.nodes[index] = NodeInfo::default();
        }
        Some(pod)
    }

    /// Promises a pod to a node until its binding is seen.
    pub(crate) fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.assumed.insert(pod.key.clone());
        self.put_pod(pod, node);
    }

    /// Takes a promise back. Returns whether there was one.
    pub(crate) fn forget(&mut self, key: &str) -> bool {
        let was_assumed = self.assumed.remove(key);
        if was_assumed {
            self.take_pod(key);
        }
        was_assumed
    }

    /// The promise was kept: the pod is seen bound.
    pub(crate) fn confirm(&mut self, key: &str) {
        self.assumed.remove(key);
    }

    pub(crate) fn is_assumed(&self, key: &str) -> bool {
        self.assumed.contains(key)
    }

    /// The node where a pod is.
    pub(crate) fn place(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(|index| self.nodes[*index].name.as_str())
    }

    pub(crate) fn pod_keys(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    pub(crate) fn node_names(&self) -> Vec<String> {
        self.by_name
            .iter()
            .filter(|(_, index)| self.nodes[**index].is_known)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Notes that a pod waits for room on a node where others go for it.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.denominate(&pod.key);
        self.nominated.entry(node.to_owned()).or_default().insert(pod.key.clone(), Arc::clone(pod));
    }

    pub(crate) fn denominate(&mut self, key: &str) {
        self.nominated.retain(|_, pods| {
            pods.remove(key);
            !pods.is_empty()
        });
    }

    pub(crate) fn nominated(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nominated.get(node).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn owner(&self, uid: &str) -> Option<&OwnerSpread> {
        self.owners.get(uid)
    }

    /// Whether any pod here has rules about other pods.
    pub(crate) fn has_ruled_pods(&self) -> bool {
        self.ruled > 0
    }

    pub(crate) fn set_namespaces(&mut self, namespaces: BTreeMap<String, Labels>) {
        self.namespaces = namespaces;
    }

    pub(crate) fn namespace_labels(&self, namespace: &str) -> Labels {
        self.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// Remembers that a pod failed where it was.
    pub(crate) fn note_failure(&mut self, owner: &str, node: &str) {
        if self.failures.len() >= FAILURES_MAX {
            let (now, kept) = (self.now_ms, FAILURE_MEMORY_MS);
            self.failures.retain(|_, at| now.saturating_sub(*at) < kept);
        }
        if self.failures.len() < FAILURES_MAX {
            self.failures.insert((owner.to_owned(), node.to_owned()), self.now_ms);
        }
    }

    /// Whether a pod of that controller failed on that node lately.
    pub(crate) fn failed_lately(&self, owner: &str, node: &str) -> bool {
        let at = self.failures.get(&(owner.to_owned(), node.to_owned()));
        at.is_some_and(|at| self.now_ms.saturating_sub(*at) < FAILURE_MEMORY_MS)
    }

    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }
}

fn decrease<K: Ord>(counts: &mut BTreeMap<K, i64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count <= 0 {
            counts.remove(key);
        }
    }
}
