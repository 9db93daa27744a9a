//! One decision: which node takes a pod now, or why none does. Pure.
//!
//! Looks at a sample of a large cluster only, as upstream does: enough nodes that fit are enough to
//! choose from.
//!
//! # Path
//! `queue` → here → `State::assume` → `bind`

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, Refusal};
use crate::pod::PodInfo;
use crate::state::State;

/// Clusters up to this size are looked at whole.
const SAMPLE_MIN: usize = 100;

/// Why no node takes a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NoFit {
    pub(crate) node_count: usize,
    /// By node, the first refusal.
    pub(crate) refusals: BTreeMap<String, Refusal>,
    /// The rules that refused.
    pub(crate) plugins: BTreeSet<&'static str>,
}

impl NoFit {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
    pub(crate) fn message(&self) -> String {
        if self.node_count == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.refusals.values().flat_map(|refusal| &refusal.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let mut reasons: Vec<String> =
            counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        let head = format!("0/{} nodes are available:", self.node_count);
        match reasons.is_empty() {
            true => head,
            false => format!("{head} {}.", reasons.join(", ")),
        }
    }
}

/// Decides; remembers where the last sample ended.
#[derive(Debug)]
pub(crate) struct Decider {
    plugins: Vec<Box<dyn Plugin>>,
    /// The next sample begins here, so that all nodes get their turn.
    start: usize,
}

/// A plugin's view of a pod, with its name and weight.
pub(crate) struct Prepared<'a> {
    plugin: &'a dyn Plugin,
    judge: Box<dyn Judge + 'a>,
}

impl Decider {
    pub(crate) fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins, start: 0 }
    }

    pub(crate) fn plugins(&self) -> &[Box<dyn Plugin>] {
        &self.plugins
    }

    /// Lets every plugin look at the pod.
    pub(crate) fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Vec<Prepared<'a>> {
        let prepared = self.plugins.iter().filter_map(|plugin| {
            let judge = plugin.prepare(state, pod)?;
            Some(Prepared { plugin: plugin.as_ref(), judge })
        });
        prepared.collect()
    }

    /// The best node for the pod; ties are broken by `rng`.
    pub(crate) fn decide(
        &mut self,
        state: &State,
        pod: &PodInfo,
        rng: &mut impl Rng,
    ) -> Result<String, NoFit> {
        let judges = self.prepare(state, pod);
        if let Some(node) = self.nominated_fit(state, pod, &judges) {
            return Ok(node);
        }
        let count = state.node_count();
        let wanted = sample_size(count);
        let mut no_fit = NoFit { node_count: count, ..NoFit::default() };
        let mut fitting: Vec<&NodeInfo> = Vec::with_capacity(wanted.min(count));
        let mut seen = 0;
        for node in state.nodes_from(self.start) {
            seen += 1;
            match fits(&judges, node) {
                Ok(()) => fitting.push(node),
                Err((plugin, refusal)) => {
                    no_fit.plugins.insert(plugin);
                    no_fit.refusals.insert(node.name.clone(), refusal);
                }
            }
            if fitting.len() >= wanted {
                break;
            }
        }
        let best = best(&judges, &fitting, rng).map(|node| node.name.clone());
        drop(judges);
        self.start = (self.start + seen) % count.max(1);
        best.ok_or(no_fit)
    }

    /// The node that others were sent away from for this pod, once there is room.
    fn nominated_fit(
        &self,
        state: &State,
        pod: &PodInfo,
        judges: &[Prepared<'_>],
    ) -> Option<String> {
        let node = state.node(pod.nominated.as_deref()?)?;
        (node.is_known && fits(judges, node).is_ok()).then(|| node.name.clone())
    }
}

/// Whether all plugins let the pod onto the node, else the first that does not.
pub(crate) fn fits(
    judges: &[Prepared<'_>],
    node: &NodeInfo,
) -> Result<(), (&'static str, Refusal)> {
    judges.iter().try_for_each(|prepared| {
        prepared.judge.filter(node).map_err(|refusal| (prepared.plugin.name(), refusal))
    })
}

fn best<'a>(
    judges: &[Prepared<'_>],
    nodes: &[&'a NodeInfo],
    rng: &mut impl Rng,
) -> Option<&'a NodeInfo> {
    if let [only] = nodes {
        return Some(only);
    }
    let mut totals = vec![0_i64; nodes.len()];
    let mut scores = vec![0_i64; nodes.len()];
    for Prepared { plugin, judge } in judges {
        for (score, node) in scores.iter_mut().zip(nodes) {
            *score = judge.score(node);
        }
        judge.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * plugin.weight();
        }
    }
    let top = *totals.iter().max()?;
    let tied: Vec<usize> = (0..nodes.len()).filter(|index| totals[*index] == top).collect();
    Some(nodes[tied[rng.random_range(0..tied.len())]])
}

/// How many nodes that fit are enough: all of 100, half of a thousand, a twentieth of very many.
fn sample_size(count: usize) -> usize {
    if count <= SAMPLE_MIN {
        return count.max(1);
    }
    let percent = 50_usize.saturating_sub(count / 125).max(5);
    (count * percent / 100).max(SAMPLE_MIN)
}

#[cfg(test)]
mod tests;
