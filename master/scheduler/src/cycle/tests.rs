//! Where pods go, and what is said when they go nowhere.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{decided, decider, info, node, state, zoned};

fn check(state: &State, cpu: &str, change: Value, expected: &str) {
    assert_eq!(decided(state, &info("p", cpu, change.clone())), expected, "{cpu} {change}");
}

#[test]
fn a_pod_goes_where_all_it_asks_for_is() {
    let state = state([
        node("big", json!({ "status": { "allocatable": { "cpu": "8", "example.com/gpu": "2" } } })),
        node("disk", json!({ "metadata": { "labels": { "disk": "ssd", "generation": "7" } } })),
        node(
            "tainted",
            json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": "NoSchedule" }] } }),
        ),
        node("cordoned", json!({ "spec": { "unschedulable": true } })),
    ]);
    let none = "0/4 nodes are available:";
    let affinity = |terms: Value| {
        json!({ "spec": { "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } } })
    };
    let expression = |key: &str, operator: &str, values: Value| json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]);
    check(&state, "6", json!({}), "big");
    check(&state, "", json!({ "spec": { "nodeSelector": { "disk": "ssd" } } }), "disk");
    check(&state, "", affinity(expression("disk", "Exists", json!([]))), "disk");
    check(&state, "", affinity(expression("generation", "Gt", json!(["6"]))), "disk");
    check(&state, "", affinity(expression("disk", "In", json!(["ssd", "nvme"]))), "disk");
    check(
        &state,
        "",
        affinity(
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["big"] }] }]),
        ),
        "big",
    );
    check(
        &state,
        "9",
        json!({}),
        &format!(
            "{none} 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient cpu."
        ),
    );
    check(
        &state,
        "",
        affinity(expression("disk", "In", json!(["tape"]))),
        &format!(
            "{none} 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector."
        ),
    );
    let gpu = |count: &str| json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "example.com/gpu": count } } }] } });
    check(&state, "", gpu("2"), "big");
    check(
        &state,
        "",
        gpu("3"),
        &format!(
            "{none} 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient example.com/gpu."
        ),
    );
    check(&super::State::default(), "", json!({}), "no nodes available to schedule pods");
}

#[test]
fn tolerations_open_tainted_and_cordoned_nodes() {
    let taint = |effect: &str| json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": effect }] } });
    let tainted = state([node("n", taint("NoExecute"))]);
    let tolerating = |toleration: Value| json!({ "spec": { "tolerations": [toleration] } });
    let refused = "0/1 nodes are available: 1 node(s) had untolerated taint(s).";
    check(&tainted, "", json!({}), refused);
    check(&tainted, "", tolerating(json!({ "key": "k", "value": "v" })), "n");
    check(&tainted, "", tolerating(json!({ "key": "k", "value": "w" })), refused);
    check(
        &tainted,
        "",
        tolerating(json!({ "key": "k", "operator": "Exists", "effect": "NoSchedule" })),
        refused,
    );
    check(&tainted, "", tolerating(json!({ "operator": "Exists" })), "n");
    let cordoned = state([node("n", json!({ "spec": { "unschedulable": true } }))]);
    check(
        &cordoned,
        "",
        tolerating(json!({ "key": "node.kubernetes.io/unschedulable", "operator": "Exists" })),
        "n",
    );
    let soft = state([node("soft", taint("PreferNoSchedule")), node("clean", json!({}))]);
    check(&soft, "", json!({}), "clean");
}

#[test]
fn ports_and_pods_of_a_node_run_out() {
    let mut state = state([node("n", json!({ "status": { "allocatable": { "pods": "2" } } }))]);
    let port = |ip: &str| json!({ "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80, "hostIP": ip }] }] } });
    state.put_pod(info("one", "", port("10.0.0.1")), "n");
    check(&state, "", port("10.0.0.2"), "n");
    check(
        &state,
        "",
        port(""),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
    );
    state.put_pod(info("two", "", json!({})), "n");
    check(&state, "", json!({}), "0/1 nodes are available: 1 Too many pods.");
    state.take_pod("a/two");
    check(&state, "", json!({}), "n");
}

#[test]
fn load_is_spread_unless_it_is_to_be_packed() {
    let mut state = state([node("a", json!({})), node("b", json!({}))]);
    state.put_pod(info("busy", "2", json!({})), "a");
    check(&state, "1", json!({}), "b");
    let mut packing = Decider::new(crate::plugin::all(crate::plugin::Strategy::MostAllocated));
    let rng = &mut rand::SeedableRng::seed_from_u64(1);
    let found = packing.decide(&state, &info("p", "1", json!({})), rng as &mut rand::rngs::StdRng);
    assert_eq!(found, Ok("a".to_owned()));
}

#[test]
fn siblings_are_kept_apart_by_node_and_zone() {
    let owned = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true }] } });
    let mut state = state([zoned("a1", "a"), zoned("a2", "a"), zoned("b1", "b"), zoned("b2", "b")]);
    let mut zones = Vec::new();
    for name in ["p1", "p2", "p3", "p4"] {
        let pod = info(name, "100m", owned.clone());
        let place = decided(&state, &pod);
        zones.push(place[..1].to_owned());
        assert!(state.node(&place).unwrap().pods.is_empty(), "{name} shares {place}");
        state.assume(pod, &place);
    }
    assert_ne!(zones[0], zones[1]);
}

#[test]
fn required_spreading_holds_back_what_would_tilt() {
    let spread = |change: Value| {
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "topologySpreadConstraints": [
        crate::fixture::merged(json!({ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": { "app": "web" } } }), change)] } })
    };
    let mut state = state([zoned("a", "a"), zoned("b", "b")]);
    state.put_pod(info("one", "", spread(json!({}))), "a");
    check(&state, "", spread(json!({})), "b");
    let filled = node(
        "b",
        json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "b" } }, "spec": { "unschedulable": true } }),
    );
    state.put_node(&filled);
    let refused = "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable.";
    check(&state, "", spread(json!({})), refused);
    check(&state, "", spread(json!({ "whenUnsatisfiable": "ScheduleAnyway" })), "a");
    check(&state, "", spread(json!({ "maxSkew": 2 })), "a");
    check(
        &state,
        "",
        spread(json!({ "topologyKey": "rack" })),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable.",
    );
}

#[test]
fn pods_attract_and_repel_each_other() {
    let term = |key: &str, app: &str| json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } });
    let rule = |kind: &str, key: &str, app: &str, own: &str| {
        json!({ "metadata": { "labels": { "app": own } },
        "spec": { "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term(key, app)] } } } })
    };
    let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    let mut state = state([zoned("a1", "a"), zoned("a2", "a"), zoned("b1", "b")]);
    state.put_pod(info("db", "", json!({ "metadata": { "labels": { "app": "db" } } })), "a1");
    check(&state, "", rule("podAffinity", host, "db", "web"), "a1");
    check(&state, "", rule("podAntiAffinity", zone, "db", "web"), "b1");
    check(
        &state,
        "",
        rule("podAffinity", zone, "cache", "web"),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.",
    );
    assert!(
        !decided(&state, &info("first", "", rule("podAffinity", zone, "web", "web")))
            .starts_with('0'),
        "the first of its kind"
    );
    state.put_pod(info("hermit", "", rule("podAntiAffinity", zone, "web", "hermit")), "b1");
    let place =
        decided(&state, &info("p", "", json!({ "metadata": { "labels": { "app": "web" } } })));
    assert!(place.starts_with('a'), "{place}");
    let preferred = json!({ "spec": { "affinity": { "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 100, "podAffinityTerm": term(host, "db") }] } } } });
    check(&state, "", preferred, "a1");
    let elsewhere = json!({ "metadata": { "namespace": "other", "labels": { "app": "web" } } });
    check(&self::state_of_hermit(), "", elsewhere, "b1");
}

/// One node, whose only pod wants no `web` of its own namespace near it.
fn state_of_hermit() -> State {
    let mut state = state([zoned("b1", "b")]);
    let rule = json!({ "spec": { "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": "topology.kubernetes.io/zone", "labelSelector": { "matchLabels": { "app": "web" } } }] } } } });
    state.put_pod(info("hermit", "", rule), "b1");
    state
}

#[test]
fn a_node_where_a_sibling_failed_is_avoided_for_a_while() {
    let mut state = state([node("a", json!({})), node("b", json!({}))]);
    state.put_pod(info("busy", "1", json!({})), "b");
    let owned = json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true }] } });
    check(&state, "", owned.clone(), "a");
    state.note_failure("r", "a");
    check(&state, "", owned.clone(), "b");
    state.now_ms = 5 * 60 * 1000;
    check(&state, "", owned, "a");
}

#[test]
fn room_that_others_made_is_kept_for_whom_they_left() {
    let mut state = state([node("n", json!({}))]);
    let important = info(
        "important",
        "3",
        json!({ "spec": { "priority": 10 }, "status": { "nominatedNodeName": "n" } }),
    );
    state.nominate(&important, "n");
    check(&state, "2", json!({}), "0/1 nodes are available: 1 Insufficient cpu.");
    check(&state, "2", json!({ "spec": { "priority": 11 } }), "n");
    assert_eq!(decided(&state, &important), "n");
    state.denominate("a/important");
    check(&state, "2", json!({}), "n");
}

#[test]
fn a_large_cluster_is_sampled_and_everyone_gets_a_turn() {
    assert_eq!([1, 100, 1_000, 5_000, 20_000].map(sample_size), [1, 100, 420, 500, 1_000]);
    let mut state = state((0..400).map(|index| node(&format!("n{index:03}"), json!({}))));
    let mut decider = decider();
    let mut rng: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(3);
    for index in 0..800 {
        let pod = info(&format!("p{index}"), "1", json!({}));
        let node = decider.decide(&state, &pod, &mut rng).unwrap();
        state.assume(pod, &node);
    }
    let fullest = state.nodes_from(0).map(|node| node.pods.len()).max();
    assert!(fullest <= Some(3), "{fullest:?} pods on one of 400 nodes for 800");
}
