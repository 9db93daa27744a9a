//! Clusters for tests, in a few words.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use master_client::pod::Pod;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::cycle::{Decider, NoFit};
use crate::plugin::{self, Strategy};
use crate::pod::PodInfo;
use crate::state::State;

/// Merges `change` into `value`, objects into objects.
pub(crate) fn merged(mut value: Value, change: Value) -> Value {
    merge(&mut value, change);
    value
}

fn merge(value: &mut Value, change: Value) {
    match (value, change) {
        (Value::Object(own), Value::Object(change)) => {
            for (key, change) in change {
                merge(own.entry(key).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change,
    }
}

/// A node with 4 CPUs, 8 GiB and room for 110 pods, changed by `change`.
pub(crate) fn node(name: &str, change: Value) -> Node {
    let node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" } },
    });
    serde_json::from_value(merged(node, change)).unwrap()
}

/// A node in a zone.
pub(crate) fn zoned(name: &str, zone: &str) -> Node {
    node(name, json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": zone } } }))
}

/// A pod of namespace `a` that asks for `cpu` (empty: for nothing), changed by `change`.
pub(crate) fn pod(name: &str, cpu: &str, change: Value) -> Pod {
    let requests = if cpu.is_empty() { json!({}) } else { json!({ "cpu": cpu }) };
    let pod = json!({
        "metadata": { "name": name, "namespace": "a", "uid": format!("uid-{name}"), "labels": {} },
        "spec": { "containers": [{ "name": "c", "image": "i", "resources": { "requests": requests } }] },
    });
    serde_json::from_value(merged(pod, change)).unwrap()
}

pub(crate) fn info(name: &str, cpu: &str, change: Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::read(Arc::new(pod(name, cpu, change))))
}

/// A state with these nodes.
pub(crate) fn state(nodes: impl IntoIterator<Item = Node>) -> State {
    let mut state = State::default();
    for node in nodes {
        state.put_node(&node);
    }
    state.refresh();
    state
}

pub(crate) fn decider() -> Decider {
    Decider::new(plugin::all(Strategy::LeastAllocated))
}

/// Where the pod goes: a node's name, or the reason why nowhere.
pub(crate) fn decided(state: &State, pod: &PodInfo) -> String {
    refused(state, pod).unwrap_or_else(|no_fit| no_fit.message())
}

pub(crate) fn refused(state: &State, pod: &PodInfo) -> Result<String, NoFit> {
    decider().decide(state, pod, &mut StdRng::seed_from_u64(7))
}
