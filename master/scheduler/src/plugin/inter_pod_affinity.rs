//! InterPodAffinity: pods that must, should, should not or must not be near other pods.
//!
//! All counts are taken once a cycle, by topology key and value; judging a node is then a look-up.

use std::collections::BTreeMap;

use crate::node::NodeInfo;
use crate::plugin::{Event, Judge, Plugin, Refusal, stretch};
use crate::pod::{PodInfo, PodTerm};
use crate::state::State;

/// What an existing pod's required affinity is worth when it would be met by the new pod too.
const HARD_AFFINITY_WEIGHT: i64 = 1;

#[derive(Debug)]
pub(super) struct InterPodAffinity;

/// By topology key and value.
type Topology = BTreeMap<(String, String), i64>;

struct Near<'a> {
    pod: &'a PodInfo,
    /// For each required term of the pod, the places where a matching pod is.
    affinity: Vec<Topology>,
    anti_affinity: Vec<Topology>,
    /// Places where an existing pod refuses this one.
    refused: Topology,
    /// The pod meets its own affinity, and no other pod does: it may be the first.
    may_be_first: bool,
    preferences: Topology,
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn profits_from(&self, _event: Event) -> bool {
        true
    }

    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        if !crate::node::has_rules(pod) && !state.has_ruled_pods() {
            return None;
        }
        Some(Box::new(Near::count(state, pod)))
    }
}

impl<'a> Near<'a> {
    fn count(state: &State, pod: &'a PodInfo) -> Self {
        let mut near = Self {
            pod,
            affinity: pod.affinity.required.iter().map(|_| Topology::new()).collect(),
            anti_affinity: pod.anti_affinity.required.iter().map(|_| Topology::new()).collect(),
            refused: Topology::new(),
            may_be_first: false,
            preferences: Topology::new(),
        };
        let has_rules = crate::node::has_rules(pod);
        for node in state.nodes_from(0) {
            if has_rules {
                node.pods.values().for_each(|other| near.add_own(state, node, other));
            }
            if node.ruled > 0 {
                node.pods.values().for_each(|other| near.add_theirs(state, node, other));
            }
        }
        let labels = |namespace: &str| state.namespace_labels(namespace);
        near.may_be_first = near.affinity.iter().all(Topology::is_empty)
            && pod.affinity.required.iter().all(|term| term.matches(pod, labels));
        near
    }

    /// What the pod's own rules say about another pod.
    fn add_own(&mut self, state: &State, node: &NodeInfo, other: &PodInfo) {
        let labels = |namespace: &str| state.namespace_labels(namespace);
        for (term, places) in self.pod.affinity.required.iter().zip(&mut self.affinity) {
            if term.matches(other, labels) {
                add(places, term, node, 1);
            }
        }
        for (term, places) in self.pod.anti_affinity.required.iter().zip(&mut self.anti_affinity) {
            if term.matches(other, labels) {
                add(places, term, node, 1);
            }
        }
        let wishes = self.pod.affinity.preferred.iter().map(|(weight, term)| (*weight, term));
        let dislikes =
            self.pod.anti_affinity.preferred.iter().map(|(weight, term)| (-weight, term));
        for (weight, term) in wishes.chain(dislikes) {
            if term.matches(other, labels) {
                add(&mut self.preferences, term, node, weight);
            }
        }
    }

    /// What another pod's rules say about this one.
    fn add_theirs(&mut self, state: &State, node: &NodeInfo, other: &PodInfo) {
        let labels = |namespace: &str| state.namespace_labels(namespace);
        for term in &other.anti_affinity.required {
            if term.matches(self.pod, labels) {
                add(&mut self.refused, term, node, 1);
            }
        }
        let required = other.affinity.required.iter().map(|term| (HARD_AFFINITY_WEIGHT, term));
        let wishes = other.affinity.preferred.iter().map(|(weight, term)| (*weight, term));
        let dislikes = other.anti_affinity.preferred.iter().map(|(weight, term)| (-weight, term));
        for (weight, term) in required.chain(wishes).chain(dislikes) {
            if term.matches(self.pod, labels) {
                add(&mut self.preferences, term, node, weight);
            }
        }
    }
}

fn add(places: &mut Topology, term: &PodTerm, node: &NodeInfo, weight: i64) {
    if let Some(value) = node.labels.get(&term.topology_key) {
        *places.entry((term.topology_key.clone(), value.clone())).or_default() += weight;
    }
}

fn is_in(places: &Topology, term: &PodTerm, node: &NodeInfo) -> bool {
    let Some(value) = node.labels.get(&term.topology_key) else { return false };
    places.contains_key(&(term.topology_key.clone(), value.clone()))
}

impl Judge for Near<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let has_value =
            |key: &str, value: &str| node.labels.get(key).is_some_and(|own| own == value);
        if self.refused.keys().any(|(key, value)| has_value(key, value)) {
            return Err(Refusal::resolvable(
                "node(s) didn't satisfy existing pods anti-affinity rules",
            ));
        }
        let mut own = self.pod.anti_affinity.required.iter().zip(&self.anti_affinity);
        if own.any(|(term, places)| is_in(places, term, node)) {
            return Err(Refusal::resolvable("node(s) didn't match pod anti-affinity rules"));
        }
        let terms = &self.pod.affinity.required;
        let is_near =
            terms.iter().zip(&self.affinity).all(|(term, places)| is_in(places, term, node));
        let is_first = || {
            self.may_be_first
                && terms.iter().all(|term| node.labels.contains_key(&term.topology_key))
        };
        if !is_near && !is_first() {
            return Err(Refusal::lasting("node(s) didn't match pod affinity rules"));
        }
        Ok(())
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let here =
            self.preferences.iter().filter(|((key, value), _)| node.labels.get(key) == Some(value));
        here.map(|(_, weight)| weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, false);
    }
}
