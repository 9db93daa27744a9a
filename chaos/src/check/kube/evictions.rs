//! Pods are evicted only from nodes that have been silent long enough, a node at a time, and not at all where
//! most of a zone is silent: then it is more likely the network.
//!
//! A node's pods begin to go when it gets a taint that evicts.

use std::collections::BTreeMap;

use serde_json::Value;
use store_handle::Revision;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::master::NODE_GRACE;
use crate::kube::objects::{NODES, Version, list, text, versions};

const SECOND_US: u64 = 1_000_000;

/// A node that was just heard may renew its lease as much later; and a leader may have heard it as much before.
const RENEWAL_US: u64 = 2 * SECOND_US;

/// How long a node that is heard again may need until it says so.
const RETURN_US: u64 = 6 * SECOND_US;

/// Between two nodes of a zone, upstream's pace of ten seconds; half a second is for what the store takes.
const PACE_US: u64 = 9_500_000;

/// As long as this a controller may act on what it saw before most of a zone was known to be silent.
const LOOK_US: u64 = SECOND_US;

#[derive(Debug, Default)]
struct Zone {
    /// Whether each of its nodes is ready.
    ready: BTreeMap<String, bool>,
    disrupted_since_us: Option<u64>,
    /// The last eviction: by which term, and when.
    last: Option<(u64, u64)>,
}

impl Zone {
    fn is_disrupted(&self) -> bool {
        let silent = self.ready.values().filter(|is_ready| !**is_ready).count();
        // A zone that is silent as a whole is left; of one that is mostly silent nobody knows.
        silent > 2 && silent < self.ready.len() && silent * 100 >= self.ready.len() * 55
    }
}

pub(crate) fn check(history: &History) -> Verdict {
    let terms: BTreeMap<Revision, u64> =
        history.kube.fenced.iter().map(|write| (write.revision, write.term)).collect();
    let mut zones: BTreeMap<String, Zone> = BTreeMap::new();
    let mut evicting: BTreeMap<String, bool> = BTreeMap::new();
    for version in versions(history, NODES) {
        let Version { revision, seen_us, name: node, object: Some(object) } = version else {
            continue;
        };
        let was_evicting = evicting.insert(node.clone(), is_evicting(&object)).unwrap_or(false);
        let zone = text(&object, &["metadata", "labels", "topology.kubernetes.io/zone"]);
        let zone = zones.entry(zone.to_owned()).or_default();
        if is_evicting(&object) && !was_evicting {
            if !is_silent(history, &node, seen_us) {
                return Err(format!(
                    "revision {revision} evicts from {node}, which was not silent for {NODE_GRACE:?}"
                ));
            }
            if zone.disrupted_since_us.is_some_and(|since_us| since_us + LOOK_US < seen_us) {
                return Err(format!(
                    "revision {revision} evicts from {node}, in a zone that is mostly silent"
                ));
            }
            let term = terms.get(&revision).copied();
            if let (Some((last_term, last_us)), Some(term)) = (zone.last, term)
                && term == last_term
                && seen_us < last_us + PACE_US
            {
                let gap_ms = (seen_us - last_us) / 1_000;
                return Err(format!(
                    "revision {revision} evicts from {node}, {gap_ms} ms after another of its zone"
                ));
            }
            zone.last = term.map(|term| (term, seen_us));
        }
        zone.ready.insert(node, is_ready(&object));
        zone.disrupted_since_us =
            zone.is_disrupted().then(|| zone.disrupted_since_us.unwrap_or(seen_us));
    }
    Ok(())
}

fn is_evicting(node: &Value) -> bool {
    list(node, &["spec", "taints"]).iter().any(|taint| {
        let is_ours = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        text(taint, &["effect"]) == "NoExecute" && is_ours.contains(&text(taint, &["key"]))
    })
}

fn is_ready(node: &Value) -> bool {
    let ready = list(node, &["status", "conditions"]).iter();
    let mut ready = ready.filter(|condition| text(condition, &["type"]) == "Ready");
    ready.any(|condition| text(condition, &["status"]) == "True")
}

/// Whether a node was silent for as long as it must be, or has only just come back.
fn is_silent(history: &History, node: &str, at_us: u64) -> bool {
    let grace_us = u64::try_from(NODE_GRACE.as_micros()).unwrap_or(u64::MAX);
    history.kube.silences.iter().filter(|silence| silence.node == node).any(|silence| {
        silence.from_us + grace_us <= at_us + RENEWAL_US
            && silence.until_us.is_none_or(|until_us| at_us <= until_us + RETURN_US)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::kube::tests::objects;
    use crate::kube::story::{FencedReply, Silence};

    /// Versions of nodes as `seconds node state`: ready, silent or evicting; all have been silent since 0 but
    /// those that are ready in the end.
    fn run(story: &[(u64, &str, &str)]) -> Verdict {
        let node = |&(at_s, name, state): &(u64, &str, &str)| {
            let status = if state == "ready" { "True" } else { "Unknown" };
            let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
            let taints = if state == "evicting" { json!([taint]) } else { json!([]) };
            let object = json!({
                "metadata": {"labels": {"topology.kubernetes.io/zone": "a"}},
                "spec": {"taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            });
            (format!("{NODES}{name}"), object, at_s * SECOND_US)
        };
        let mut history = objects(story.iter().map(node));
        let silence = |node: &str| Silence { node: node.into(), from_us: 0, until_us: None };
        history.kube.silences = ["n1", "n2", "n3"].map(silence).to_vec();
        let write = |revision: &i64| FencedReply { term: 1, revision: *revision };
        history.kube.fenced = history.changes.keys().map(write).collect();
        check(&history)
    }

    #[test]
    fn eviction_from_a_node_that_was_heard_is_found() {
        run(&[(0, "n1", "ready"), (10, "n1", "silent"), (10, "n1", "evicting")]).unwrap();
        run(&[(0, "n1", "ready"), (4, "n1", "evicting")]).unwrap_err();
        run(&[(0, "n4", "ready"), (10, "n4", "evicting")]).unwrap_err();
    }

    #[test]
    fn evictions_that_follow_each_other_too_fast_are_found() {
        run(&[(10, "n1", "evicting"), (20, "n2", "evicting")]).unwrap();
        run(&[(10, "n1", "evicting"), (19, "n2", "evicting")]).unwrap_err();
    }

    #[test]
    fn eviction_in_a_zone_that_is_mostly_silent_is_found() {
        let silent =
            [(0, "n4", "ready"), (9, "n1", "silent"), (9, "n2", "silent"), (9, "n3", "silent")];
        let run = |last: &[(u64, &str, &str)]| run(&[&silent[..], last].concat());
        run(&[]).unwrap();
        run(&[(11, "n1", "evicting")]).unwrap_err();
        run(&[(11, "n4", "silent"), (12, "n1", "evicting")]).unwrap();
    }
}
