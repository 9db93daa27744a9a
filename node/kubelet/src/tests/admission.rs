//! Pods that come to a node in a row: who is let in, who is not, and what is told of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use serde_json::{Value, json};

use super::Node;
use crate::admit::Facts;
use crate::pod;
use crate::workers::Workers;

fn facts(labels: &Value) -> Facts {
    let node: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": "node-1", "labels": labels},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    }))
    .unwrap();
    Facts::read(&node, true)
}

/// A pod that asks for so many cores, made at this second.
fn with(name: &str, cpu: &str, made_s: u32, spec: &Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name,
            "creationTimestamp": format!("2026-01-01T00:00:{made_s:02}Z")},
        "spec": {"containers": [{"name": name, "image": "app:1", "resources": {"requests": {"cpu": cpu}}}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(pod).unwrap())
}

struct Gate {
    node: Node,
    workers: Workers,
    wanted: BTreeMap<String, Arc<Pod>>,
}

impl Gate {
    fn new() -> Self {
        let node = Node::idle();
        let workers = Workers::new(node.context.clone(), node.stop.clone());
        Self { node, workers, wanted: BTreeMap::new() }
    }

    async fn bind(&mut self, pods: &[Arc<Pod>], facts: &Facts) {
        self.wanted.extend(pods.iter().map(|pod| (pod::uid(pod).to_owned(), pod.clone())));
        self.settle(facts).await;
    }

    async fn settle(&mut self, facts: &Facts) {
        assert!(!self.workers.reconcile(&self.wanted, Some(facts)));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    /// `PHASE REASON: MESSAGE`
    fn told(&self, name: &str) -> String {
        let Some(status) = self.node.status(name) else { return "nothing".to_owned() };
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        format!("{} {}: {}", text(status.phase), text(status.reason), text(status.message))
    }
}

const FULL: &str = "Failed OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 3000, capacity: 4000";
const ELSEWHERE: &str = "Failed NodeAffinity: Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
const RUNS: &str = "Running -: -";

#[tokio::test(start_paused = true)]
async fn oldest_pods_are_let_in_and_what_is_over_is_given_away() {
    let (mut gate, here) = (Gate::new(), facts(&json!({"zone": "a"})));
    let none = json!({});
    // By name the other way round than by age.
    gate.bind(&[with("a", "3", 2, &none), with("b", "3", 1, &none)], &here).await;
    assert_eq!((gate.told("b"), gate.told("a")), (RUNS.to_owned(), FULL.to_owned()));
    let elsewhere = with("c", "1", 3, &json!({"nodeSelector": {"zone": "b"}}));
    gate.bind(&[elsewhere], &here).await;
    assert_eq!(gate.told("c"), ELSEWHERE);
    assert!(!gate.node.fake.calls().iter().any(|call| call.contains("run_sandbox a")));
    // One that failed takes nothing; nor does one that is no longer wanted.
    gate.wanted.remove("b");
    gate.bind(&[with("d", "3", 4, &none)], &here).await;
    assert_eq!((gate.told("d"), gate.told("a")), (RUNS.to_owned(), FULL.to_owned()));
    gate.workers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn pod_that_was_let_in_stays_whatever_becomes_of_the_node() {
    let mut gate = Gate::new();
    let selector = json!({"nodeSelector": {"zone": "a"}});
    gate.bind(&[with("a", "3", 1, &selector)], &facts(&json!({"zone": "a"}))).await;
    assert_eq!(gate.told("a"), RUNS);
    // Another agent comes, and finds what this one has told.
    let mut known = Pod::clone(&gate.wanted["a"]);
    known.status = gate.node.status("a");
    gate.node.stop.cancel();
    gate.workers.finish().await;
    gate.node.context.ledger.forget("a");
    gate.node.stop = tokio_util::sync::CancellationToken::new();
    gate.workers = Workers::new(gate.node.context.clone(), gate.node.stop.clone());
    let moved = facts(&json!({"zone": "b"}));
    gate.bind(&[Arc::new(known), with("0", "3", 0, &json!({}))], &moved).await;
    assert_eq!((gate.told("a"), gate.told("0")), (RUNS.to_owned(), FULL.to_owned()));
    assert_eq!(gate.node.started("a"), 1);
    gate.workers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn pods_wait_until_it_is_known_what_the_node_is() {
    let mut gate = Gate::new();
    let pod = with("a", "1", 1, &json!({}));
    gate.wanted.insert("a".to_owned(), pod);
    assert!(gate.workers.reconcile(&gate.wanted, None));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(gate.told("a"), "nothing");
    gate.settle(&facts(&json!({}))).await;
    assert_eq!(gate.told("a"), RUNS);
    gate.workers.finish().await;
}
