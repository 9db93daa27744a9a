//! Pods that come to a node in a row: who is let in, who is not, and what is told of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use node_cri::Behaviour;
use serde_json::{Value, json};

use super::Node;
use crate::admit::{Facts, Fresh};
use crate::held::Held;
use crate::pod;
use crate::worker::{Desired, Worker};
use crate::workers::Workers;

fn facts(labels: &Value) -> Facts {
    let node: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": "node-1", "labels": labels},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    }))
    .unwrap();
    Facts::read(&node, Fresh::ForAll)
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
        let workers = Workers::new(node.context.clone(), Held::default(), node.stop.clone());
        Self { node, workers, wanted: BTreeMap::new() }
    }

    /// Another agent comes, and finds what this one has told if `is_told`.
    async fn restart(mut self, is_told: bool) -> Self {
        for pod in self.wanted.values_mut().filter(|_| is_told) {
            let mut known = Pod::clone(pod);
            known.status = self.node.status(pod::uid(&known));
            *pod = Arc::new(known);
        }
        self.node.stop.cancel();
        self.workers.finish().await;
        let Node { dir, fake, clock, .. } = self.node;
        let node = Node::idle_on(dir, fake, clock);
        let held = Held::read(node.fake.as_ref()).await.unwrap();
        let workers = Workers::new(node.context.clone(), held, node.stop.clone());
        Self { node, workers, wanted: self.wanted }
    }

    /// Somebody wants another size of a pod.
    fn resize(&mut self, name: &str, cpu: &str) {
        let mut pod = Pod::clone(&self.wanted[name]);
        let resources = serde_json::from_value(json!({"requests": {"cpu": cpu}})).unwrap();
        pod.spec.as_mut().unwrap().containers[0].resources = Some(resources);
        self.wanted.insert(name.to_owned(), Arc::new(pod));
    }

    async fn bind(&mut self, pods: &[Arc<Pod>], facts: &Facts) {
        self.wanted.extend(pods.iter().map(|pod| (pod::uid(pod).to_owned(), pod.clone())));
        self.settle(facts).await;
    }

    async fn settle(&mut self, facts: &Facts) {
        assert!(self.workers.reconcile(&self.wanted, Some(facts)).is_empty());
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
    let mut gate = gate.restart(true).await;
    let moved = facts(&json!({"zone": "b"}));
    gate.bind(&[with("0", "3", 0, &json!({}))], &moved).await;
    assert_eq!((gate.told("a"), gate.told("0")), (RUNS.to_owned(), FULL.to_owned()));
    assert_eq!(gate.node.started("a"), 1);
    gate.workers.finish().await;
}

/// The agent ends before its masters have heard anything of its pods; of static ones they tell it nothing anyway.
#[tokio::test(start_paused = true)]
async fn pod_that_is_here_was_let_in_whoever_knows_of_it() {
    let mut gate = Gate::new();
    let selector = json!({"nodeSelector": {"zone": "a"}});
    let (bound, mut fixed) = (with("a", "1", 1, &selector), with("f", "1", 2, &selector));
    let source = [("kubernetes.io/config.source".to_owned(), "file".to_owned())];
    Arc::make_mut(&mut fixed).metadata.annotations = Some(source.into());
    gate.bind(&[bound, fixed], &facts(&json!({"zone": "a"}))).await;
    let mut gate = gate.restart(false).await;
    let late = with("late", "1", 0, &selector);
    gate.bind(&[late], &facts(&json!({"zone": "b"}))).await;
    let told = ["a", "f", "late"].map(|name| gate.told(name));
    assert_eq!(told, [RUNS, RUNS, ELSEWHERE]);
    assert_eq!((gate.node.started("a"), gate.node.started("f")), (1, 1));
    gate.workers.finish().await;
}

/// Pods that want more than they can get take what they were given, also for an agent that comes anew.
#[tokio::test(start_paused = true)]
async fn what_others_want_keeps_nobody_out() {
    let (mut gate, here) = (Gate::new(), facts(&json!({})));
    let none = json!({});
    gate.bind(&[with("a", "1", 1, &none), with("b", "100m", 2, &none)], &here).await;
    // One was given more, and wants still more; the other was not.
    gate.resize("b", "200m");
    gate.settle(&here).await;
    gate.resize("a", "1000");
    gate.resize("b", "1000");
    gate.settle(&here).await;
    let mut gate = gate.restart(true).await;
    gate.bind(&[with("c", "3", 3, &none), with("d", "2800m", 4, &none)], &here).await;
    let used = "Failed OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 1200, capacity: 4000";
    assert_eq!((gate.told("c").as_str(), gate.told("d").as_str()), (used, RUNS));
    gate.workers.finish().await;
}

/// The image of a pod takes its time, and somebody wants another size of it meanwhile.
#[tokio::test(start_paused = true)]
async fn pod_that_has_not_started_gets_no_more_than_there_is() {
    let (mut gate, here) = (Gate::new(), facts(&json!({})));
    let slow = json!({"containers": [{"name": "a", "image": "missing:1", "resources": {"requests": {"cpu": "1"}}}]});
    gate.bind(&[with("a", "1", 1, &slow)], &here).await;
    gate.resize("a", "1000");
    gate.settle(&here).await;
    let conditions = gate.node.status("a").unwrap().conditions.unwrap();
    let pending = conditions.into_iter().find(|it| it.type_ == "PodResizePending");
    assert_eq!(pending.unwrap().reason.as_deref(), Some("Infeasible"));
    let full = "Failed OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000";
    gate.bind(&[with("b", "3500m", 2, &json!({}))], &here).await;
    assert_eq!(gate.told("b"), full);
    let mut gate = gate.restart(true).await;
    gate.bind(&[with("c", "3500m", 3, &json!({}))], &here).await;
    assert_eq!(gate.told("c"), full);
    gate.workers.finish().await;
}

/// The masters gave the node up; it was not gone.
#[tokio::test(start_paused = true)]
async fn how_the_containers_of_a_pod_that_somebody_ended_end_is_told() {
    let (mut gate, here) = (Gate::new(), facts(&json!({})));
    gate.bind(&[with("a", "1", 1, &json!({}))], &here).await;
    let mut lost = Pod::clone(&gate.wanted["a"]);
    lost.status = gate.node.status("a");
    lost.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    gate.bind(&[Arc::new(lost)], &here).await;
    let status = gate.node.status("a").unwrap();
    let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert!(state.running.is_none() && state.terminated.is_some(), "{state:?}");
    gate.workers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn refused_pod_has_failed_once_nothing_of_it_runs() {
    let mut gate = Gate::new();
    let term_delay = Duration::from_secs(20);
    gate.node.fake.behave("a", Behaviour { term_delay, ..Default::default() });
    gate.bind(&[with("a", "1", 1, &json!({}))], &facts(&json!({}))).await;
    let gate = gate.restart(true).await;
    let refusal = Some(("OutOfcpu".to_owned(), "none is left".to_owned()));
    let desired = Desired { pod: gate.wanted["a"].clone(), is_removed: false, refusal };
    let (_desired, news) = tokio::sync::watch::channel(desired);
    let worker = Worker::new(gate.node.context.clone(), news, Arc::default());
    let mut crew = store_env::task::Crew::new();
    crew.spawn(worker.run(gate.node.stop.clone()));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(gate.told("a"), "nothing");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(gate.told("a"), "Failed OutOfcpu: Pod was rejected: none is left");
}

#[tokio::test(start_paused = true)]
async fn pods_wait_until_it_is_known_what_the_node_is() {
    let mut gate = Gate::new();
    let pod = with("a", "1", 1, &json!({}));
    gate.wanted.insert("a".to_owned(), pod);
    assert_eq!(gate.workers.reconcile(&gate.wanted, None), &["a".to_owned()].into());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(gate.told("a"), "nothing");
    gate.settle(&facts(&json!({}))).await;
    assert_eq!(gate.told("a"), RUNS);
    gate.workers.finish().await;
}
