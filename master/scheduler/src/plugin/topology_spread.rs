//! PodTopologySpread: matching pods are spread evenly over the values of a label of nodes.

use std::collections::BTreeMap;

use crate::node::NodeInfo;
use crate::plugin::node_affinity::accepts;
use crate::plugin::{Event, Judge, Plugin, Refusal, stretch};
use crate::pod::{PodInfo, Spread};
use crate::state::State;

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";

#[derive(Debug)]
pub(super) struct TopologySpread;

struct Constraint<'a> {
    spread: &'a Spread,
    /// Matching pods by value of the topology key; values of all nodes that count are there.
    counts: BTreeMap<&'a str, i64>,
    fewest: i64,
    /// Whether the pod counts itself.
    own: i64,
}

struct Constraints<'a>(Vec<Constraint<'a>>);

impl Plugin for TopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn profits_from(&self, _event: Event) -> bool {
        true
    }

    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        if pod.spread.is_empty() {
            return None;
        }
        let constraints = pod.spread.iter().map(|spread| Constraint::count(state, pod, spread));
        Some(Box::new(Constraints(constraints.collect())))
    }
}

impl<'a> Constraint<'a> {
    fn count(state: &'a State, pod: &PodInfo, spread: &'a Spread) -> Self {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for node in state.nodes_from(0).filter(|node| counts_in(pod, spread, node)) {
            let Some(value) = node.labels.get(&spread.topology_key) else { continue };
            let here = node.pods.values().filter(|other| {
                other.namespace() == pod.namespace()
                    && !other.is_terminating
                    && spread.selects(other.labels())
            });
            *counts.entry(value).or_default() += i64::try_from(here.count()).unwrap_or(i64::MAX);
        }
        // Fewer values than wanted: an imaginary empty one makes pods wait for more.
        let is_short = spread.min_domains.is_some_and(|wanted| counts.len() < wanted);
        let fewest = if is_short { 0 } else { counts.values().copied().min().unwrap_or_default() };
        Self { spread, counts, fewest, own: i64::from(spread.selects(pod.labels())) }
    }

    fn at(&self, node: &NodeInfo) -> Option<i64> {
        let value = node.labels.get(&self.spread.topology_key)?;
        Some(self.counts.get(value.as_str()).copied().unwrap_or_default())
    }
}

fn counts_in(pod: &PodInfo, spread: &Spread, node: &NodeInfo) -> bool {
    let tolerated = || {
        node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule").all(|taint| {
            pod.tolerates(&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
        })
    };
    (!spread.honours_affinity || accepts(pod, node)) && (!spread.honours_taints || tolerated())
}

impl Judge for Constraints<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        for constraint in self.0.iter().filter(|constraint| constraint.spread.is_required) {
            let Some(count) = constraint.at(node) else { return Err(Refusal::lasting(UNLABELLED)) };
            if count + constraint.own - constraint.fewest > constraint.spread.max_skew {
                return Err(Refusal::resolvable(UNEVEN));
            }
        }
        Ok(())
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = self.0.iter().filter(|constraint| !constraint.spread.is_required);
        // A node without the label is the worst place there is.
        let cost = |constraint: &Constraint<'_>| {
            let total: i64 = constraint.counts.values().sum();
            constraint.at(node).unwrap_or(total + 1) * 100 / constraint.spread.max_skew.max(1)
        };
        soft.map(cost).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }
}
