//! Pods at the gate of a node with two cores, 1 GiB, room for three pods and two devices.

use serde_json::{Value, json};

use super::*;

fn facts(fresh: Fresh) -> Facts {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "n", "labels": {"zone": "a", "size": "7"}},
        "spec": {"taints": [
            {"key": "off", "value": "x", "effect": "NoExecute"}, {"key": "soft", "effect": "NoSchedule"},
        ]},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/device": "2"}},
    }))
    .unwrap();
    Facts::read(&node, fresh)
}

/// A pod with this specification, that tolerates the node's taint.
fn pod(spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c"}],
        "tolerations": [{"key": "off", "operator": "Equal", "value": "x"}],
    }});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(pod).unwrap()
}

fn asks(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn told(pod: &Pod, others: &[Claim]) -> String {
    match judge(pod, &facts(Fresh::ForAll), others) {
        Verdict::Admitted => "-".to_owned(),
        Verdict::Refused((reason, message)) => format!("{reason}: {message}"),
        Verdict::Doubted => "?".to_owned(),
    }
}

#[test]
fn pod_is_refused_what_the_node_has_not_left() {
    let check = |others: &[Value], requests: Value, expected: &str| {
        let others: Vec<Claim> =
            others.iter().map(|other| Claim::of(&pod(asks(other.clone())))).collect();
        assert_eq!(told(&pod(asks(requests.clone())), &others), expected, "{requests}");
    };
    let lacks = "Node didn't have enough resource:";
    check(&[], json!({}), "-");
    check(&[], json!({"cpu": "2", "memory": "1Gi"}), "-");
    let text = format!("OutOfcpu: {lacks} cpu, requested: 2001, used: 0, capacity: 2000");
    check(&[], json!({"cpu": "2001m", "memory": "2Gi"}), &text);
    let text = format!("OutOfcpu: {lacks} cpu, requested: 1001, used: 1000, capacity: 2000");
    check(&[json!({"cpu": "1"})], json!({"cpu": "1001m"}), &text);
    let text = format!(
        "OutOfmemory: {lacks} memory, requested: 1073741825, used: 0, capacity: 1073741824"
    );
    check(&[], json!({"memory": "1073741825"}), &text);
    let text = format!("OutOfpods: {lacks} pods, requested: 1, used: 3, capacity: 3");
    check(&[json!({}), json!({}), json!({})], json!({"cpu": "3"}), &text);
    let device = |count: &str| json!({"example.com/device": count});
    let text = format!(
        "OutOfexample.com/device: {lacks} example.com/device, requested: 2, used: 1, capacity: 2"
    );
    check(&[device("1")], device("2"), &text);
    check(&[], json!({"example.com/unknown": "5"}), "-");
    let text = format!(
        "OutOfhugepages-2Mi: {lacks} hugepages-2Mi, requested: 2097152, used: 0, capacity: 0"
    );
    check(&[], json!({"hugepages-2Mi": "2Mi"}), &text);
    let most = json!({"memory": "9E"});
    let text = format!(
        "OutOfmemory: {lacks} memory, requested: 9000000000000000000, used: 18000000000000000000, capacity: 1073741824"
    );
    check(&[most.clone(), most.clone()], most.clone(), &text);
    let part = json!({"name": "c", "resources": {"requests": most}});
    let huge = pod(json!({"containers": [part.clone(), part.clone(), part]}));
    assert!(told(&huge, &[]).starts_with("OutOfmemory: "));
}

#[test]
fn pod_takes_its_greediest_moment_and_what_running_it_costs() {
    let of = |spec: Value| Claim::of(&pod(spec)).need.cpu_milli;
    let cpu = |name: &str, amount: &str| json!({"name": name, "resources": {"requests": {"cpu": amount}}});
    let mains = json!([cpu("a", "300m"), cpu("b", "200m")]);
    assert_eq!(of(json!({"containers": mains})), 500);
    assert_eq!(of(json!({"containers": mains, "initContainers": [cpu("i", "700m")]})), 700);
    assert_eq!(of(json!({"containers": mains, "overhead": {"cpu": "50m"}})), 550);
    let whole = json!({"requests": {"cpu": "1"}});
    assert_eq!(of(json!({"containers": mains, "resources": whole})), 1_000);
    let lacks = |spec: Value, resource: &str, requested: &str| {
        let told = told(&pod(spec), &[]);
        let start = format!(
            "OutOf{resource}: Node didn't have enough resource: {resource}, requested: {requested},"
        );
        assert!(told.starts_with(&start), "{told}");
    };
    // What only the pod says, or only what running it costs.
    let pages = json!({"hugepages-2Mi": "4Mi"});
    lacks(json!({"resources": {"requests": pages}}), "hugepages-2Mi", "4194304");
    lacks(json!({"overhead": {"example.com/device": "3"}}), "example.com/device", "3");
}

#[test]
fn pod_for_another_node_is_refused() {
    let term = |key: &str, operator: &str, values: &[&str]| {
        let expression = json!({"key": key, "operator": operator, "values": values});
        let terms = json!([{"matchExpressions": [expression]}]);
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    };
    let text = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let check = |spec: Value, expected: &str| {
        assert_eq!(told(&pod(spec.clone()), &[]), expected, "{spec}");
    };
    check(json!({"nodeSelector": {"zone": "a"}}), "-");
    check(json!({"nodeSelector": {"zone": "b"}}), text);
    check(term("zone", "In", &["b", "a"]), "-");
    check(term("zone", "NotIn", &["a"]), text);
    check(term("size", "Gt", &["6"]), "-");
    check(term("size", "Lt", &["7"]), text);
    check(term("other", "DoesNotExist", &[]), "-");
    let text = "NodeName: Predicate NodeName failed: node(s) didn't match the requested node name";
    check(json!({"nodeName": "m"}), text);
    check(json!({"nodeName": "n"}), "-");
    let text = "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    check(json!({"tolerations": []}), text);
    check(json!({"tolerations": [{"operator": "Exists"}]}), "-");
    check(json!({"tolerations": [{"key": "off", "operator": "Equal", "value": "y"}]}), text);
    let text = "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS";
    check(json!({"os": {"name": "windows"}}), text);
}

#[test]
fn copy_of_a_node_that_may_be_old_refuses_nobody() {
    for spec in [json!({"nodeSelector": {"zone": "b"}}), asks(json!({"cpu": "3"}))] {
        let mut pod = pod(spec);
        pod.metadata.uid = Some("u".to_owned());
        assert_eq!(judge(&pod, &facts(Fresh::ForNobody), &[]), Verdict::Doubted);
        // Read for others, before this one came.
        let fresh = |uid: &str| facts(Fresh::For([uid.to_owned()].into()));
        assert_eq!(judge(&pod, &fresh("other"), &[]), Verdict::Doubted);
        assert!(matches!(judge(&pod, &fresh("u"), &[]), Verdict::Refused(_)));
        assert!(matches!(judge(&pod, &facts(Fresh::ForAll), &[]), Verdict::Refused(_)));
    }
    assert_eq!(judge(&pod(json!({})), &facts(Fresh::ForNobody), &[]), Verdict::Admitted);
}

#[test]
fn port_of_the_machine_is_taken_once() {
    let with = |port: Value| pod(json!({"containers": [{"name": "c", "ports": [port]}]}));
    let text = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let check = |first: Value, second: Value, expected: &str| {
        let others = [Claim::of(&with(first.clone()))];
        assert_eq!(told(&with(second.clone()), &others), expected, "{first} {second}");
    };
    let port = |host: i32| json!({"containerPort": 80, "hostPort": host});
    let on = |ip: &str| json!({"containerPort": 80, "hostPort": 80, "hostIP": ip});
    check(port(80), port(80), text);
    check(port(80), port(81), "-");
    check(port(0), port(0), "-");
    check(on("10.0.0.1"), on("10.0.0.2"), "-");
    check(on("10.0.0.1"), port(80), text);
    let udp = json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"});
    check(port(80), udp, "-");
}

#[test]
fn static_and_critical_pods_are_not_refused_for_want_of_room() {
    let mut large = pod(asks(json!({"cpu": "4"})));
    large.spec.get_or_insert_default().priority = Some(2_000_001_000);
    assert_eq!(told(&large, &[]), "-");
    let mut fixed = pod(asks(json!({"cpu": "4"})));
    fixed.spec.get_or_insert_default().tolerations = None;
    let source = [("kubernetes.io/config.source".to_owned(), "file".to_owned())];
    fixed.metadata.annotations = Some(source.into());
    assert_eq!(told(&fixed, &[]), "-");
    assert_eq!(Claim::of(&fixed).need.cpu_milli, 4_000);
}
