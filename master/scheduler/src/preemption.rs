//! Room for the important: which less important pods must leave which node. Pure, but for trying out
//! on the real state, which is put back as it was.
//!
//! # Invariants
//! - Only pods of lower priority leave, and no more of them than needed.
//! - The state after [`plan`] equals the state before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use master_api::selector::LabelSelector;

use crate::cycle::{Decider, NoFit, fits};
use crate::pod::{PodInfo, selector};
use crate::state::State;

/// Nodes that are tried out for one pod at most.
const CANDIDATES_MAX: usize = 100;

/// A disruption budget: how many of its pods may still go.
#[derive(Debug)]
pub(crate) struct Budget {
    namespace: String,
    name: String,
    selector: Option<LabelSelector>,
    allowed: i64,
}

impl Budget {
    pub(crate) fn read(budget: &PodDisruptionBudget) -> Self {
        let spec = budget.spec.as_ref();
        Self {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            name: budget.metadata.name.clone().unwrap_or_default(),
            selector: spec.and_then(|spec| spec.selector.as_ref()).map(selector),
            allowed: budget
                .status
                .as_ref()
                .and_then(|status| status.disruptions_allowed)
                .map_or(0, i64::from),
        }
    }

    fn covers(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.namespace()
            && self.selector.as_ref().is_some_and(|selector| selector.matches_map(pod.labels()))
    }
}

/// Who leaves which node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) node: String,
    /// Keys of the pods that leave, the least important last.
    pub(crate) victims: Vec<String>,
}

/// What came of looking for room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Leave(Plan),
    /// Why nobody is sent away, as upstream tells it.
    Stay(String),
}

/// Finds the node where sending pods away costs least.
pub(crate) fn plan(
    decider: &Decider,
    state: &mut State,
    pod: &PodInfo,
    no_fit: &NoFit,
    budgets: &[Budget],
) -> Outcome {
    if let Some(reason) = ineligible(state, pod) {
        return Outcome::Stay(format!("preemption: {reason}"));
    }
    let candidates: Vec<&String> = no_fit
        .refusals
        .iter()
        .filter(|(_, refusal)| refusal.is_resolvable)
        .map(|(node, _)| node)
        .collect();
    let mut best: Option<(Cost, Plan)> = None;
    for node in candidates.iter().take(CANDIDATES_MAX) {
        let Some((cost, victims)) = try_node(decider, state, pod, node, budgets) else { continue };
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, Plan { node: (*node).clone(), victims }));
        }
    }
    match best {
        Some((_, plan)) => Outcome::Leave(plan),
        None => Outcome::Stay(refused_message(no_fit.node_count, candidates.len())),
    }
}

fn ineligible(state: &State, pod: &PodInfo) -> Option<&'static str> {
    if !pod.may_preempt {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = state.node(pod.nominated.as_deref()?)?;
    let mut leaving = nominated
        .pods
        .values()
        .filter(|other| other.is_terminating && other.priority < pod.priority);
    leaving.next().map(|_| "not eligible due to a terminating pod on the nominated node.")
}

fn refused_message(nodes: usize, tried: usize) -> String {
    let counted = [
        (tried, "No preemption victims found for incoming pod"),
        (nodes.saturating_sub(tried), "Preemption is not helpful for scheduling"),
    ];
    let shown: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    format!("preemption: 0/{nodes} nodes are available: {}.", shown.join(", "))
}

/// Broken budgets, then the most important victim, the sum of importance, the number of victims, and
/// the earliest start (later is better).
type Cost = (usize, i32, i64, usize, i64);

fn try_node(
    decider: &Decider,
    state: &mut State,
    pod: &PodInfo,
    node: &str,
    budgets: &[Budget],
) -> Option<(Cost, Vec<String>)> {
    let lower = state.node(node)?.pods.values().filter(|other| other.priority < pod.priority);
    let mut lower: Vec<Arc<PodInfo>> = lower.cloned().collect();
    if lower.is_empty() {
        return None;
    }
    for other in &lower {
        state.take_pod(&other.key);
    }
    if !is_fit(decider, state, pod, node) {
        lower.into_iter().for_each(|other| state.put_pod(other, node));
        return None;
    }
    // Those whose budget is used up get their place back first, then the important and the old.
    let protected = protected(&lower, budgets);
    lower.sort_by_key(|other| {
        (!protected.contains(&other.key), -i64::from(other.priority), other.created_s)
    });
    let mut victims = Vec::new();
    for other in &lower {
        state.put_pod(Arc::clone(other), node);
        if !is_fit(decider, state, pod, node) {
            state.take_pod(&other.key);
            victims.push(Arc::clone(other));
        }
    }
    victims.iter().for_each(|other| state.put_pod(Arc::clone(other), node));
    let broken = victims.iter().filter(|other| protected.contains(&other.key)).count();
    let highest = victims.iter().map(|other| other.priority).max()?;
    let sum = victims.iter().map(|other| i64::from(other.priority)).sum();
    let first_start = victims.iter().map(|other| other.created_s).min()?;
    let cost = (broken, highest, sum, victims.len(), -first_start);
    Some((cost, victims.iter().map(|other| other.key.clone()).collect()))
}

fn is_fit(decider: &Decider, state: &State, pod: &PodInfo, node: &str) -> bool {
    let judges = decider.prepare(state, pod);
    state.node(node).is_some_and(|node| fits(&judges, node).is_ok())
}

/// Keys of the pods that their budgets do not allow to go, if all of these went.
fn protected(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> BTreeSet<String> {
    let mut left: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut protected = BTreeSet::new();
    for pod in pods {
        for budget in budgets.iter().filter(|budget| budget.covers(pod)) {
            let left = left.entry((&budget.namespace, &budget.name)).or_insert(budget.allowed);
            *left -= 1;
            if *left < 0 {
                protected.insert(pod.key.clone());
            }
        }
    }
    protected
}

#[cfg(test)]
mod tests;
