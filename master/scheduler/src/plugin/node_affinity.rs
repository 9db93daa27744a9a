//! NodeAffinity: node selectors and required terms refuse nodes, preferred terms rank them.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, Refusal, scale};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct NodeAffinity;

struct Wishes<'a>(&'a PodInfo);

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        let has_wishes = !pod.node_selector().is_empty()
            || pod.node_terms.is_some()
            || !pod.node_preferences.is_empty();
        has_wishes.then(|| Box::new(Wishes(pod)) as Box<dyn Judge>)
    }
}

/// Whether a pod's selector and required terms mean that node.
pub(super) fn accepts(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector().iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod
            .node_terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, &node.labels)))
}

impl Judge for Wishes<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        match accepts(self.0, node) {
            true => Ok(()),
            false => Err(Refusal::lasting("node(s) didn't match Pod's node affinity/selector")),
        }
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let met = self
            .0
            .node_preferences
            .iter()
            .filter(|(_, term)| term.matches(&node.name, &node.labels));
        met.map(|(weight, _)| weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, false);
    }
}
