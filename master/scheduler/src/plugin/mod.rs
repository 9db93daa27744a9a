//! The rules by which nodes are refused and compared: one file each, one line in the list.
//!
//! A plugin first looks at the pod and the cluster once ([`Plugin::prepare`]); where it has nothing to
//! say about that pod it takes no part in the cycle.

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod owner_spread;
mod recent_failures;
mod resources_fit;
mod taint_toleration;
mod topology_spread;

use std::fmt::Debug;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::state::State;

pub use resources_fit::Strategy;

/// The best score a plugin gives.
pub(crate) const SCORE_MAX: i64 = 100;

/// Why a node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In upstream's words, counted over nodes.
    pub(crate) reasons: Vec<String>,
    /// Whether it may end when other pods leave the node.
    pub(crate) is_resolvable: bool,
}

impl Refusal {
    pub(crate) fn resolvable(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], is_resolvable: true }
    }

    pub(crate) fn lasting(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], is_resolvable: false }
    }
}

/// What happened in the cluster, as far as a waiting pod may profit from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A node came or changed.
    Node,
    /// A pod left its node.
    PodGone,
    /// A pod was placed.
    PodPlaced,
}

/// One rule.
pub(crate) trait Plugin: Send + Sync + Debug {
    fn name(&self) -> &'static str;

    /// What a score counts beside the others'.
    fn weight(&self) -> i64 {
        1
    }

    /// Whether a pod that this rule kept waiting should be tried again after the event.
    fn profits_from(&self, event: Event) -> bool {
        event == Event::Node
    }

    /// Looks at a pod in the present cluster; `None` if there is nothing to judge.
    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>>;
}

/// A rule's view of one pod.
pub(crate) trait Judge {
    /// Whether the node can take the pod.
    fn filter(&self, _node: &NodeInfo) -> Result<(), Refusal> {
        Ok(())
    }

    /// How well the node would take it; any scale if [`Judge::normalize`] brings it to 0…100.
    fn score(&self, _node: &NodeInfo) -> i64 {
        0
    }

    /// Brings the scores of all candidates to 0…100.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// All plugins, cheap refusals first.
pub(crate) fn all(strategy: Strategy) -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(resources_fit::ResourcesFit::new(strategy)),
        Box::new(topology_spread::TopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
        Box::new(balanced_allocation::BalancedAllocation),
        Box::new(owner_spread::OwnerSpread),
        Box::new(image_locality::ImageLocality),
        Box::new(recent_failures::RecentFailures),
    ]
}

/// Scales scores so that the best becomes 100; `reverse` makes the smallest the best.
pub(crate) fn scale(scores: &mut [i64], reverse: bool) {
    let best = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        *score = match (best, reverse) {
            (0, true) => SCORE_MAX,
            (0, false) => 0,
            (_, true) => SCORE_MAX - SCORE_MAX * *score / best,
            (_, false) => SCORE_MAX * *score / best,
        };
    }
}

/// Scales scores so that the smallest becomes 0 and the largest 100, or the other way round.
pub(crate) fn stretch(scores: &mut [i64], reverse: bool) {
    let (low, high) = (
        scores.iter().copied().min().unwrap_or_default(),
        scores.iter().copied().max().unwrap_or_default(),
    );
    for score in scores {
        *score = match (high - low, reverse) {
            (0, true) => SCORE_MAX,
            (0, false) => 0,
            (span, true) => SCORE_MAX * (high - *score) / span,
            (span, false) => SCORE_MAX * (*score - low) / span,
        };
    }
}
