//! Services and slices, as sketches, and the fronts that follow.

use serde_json::{Value, json};

use super::*;

fn config() -> Config {
    Config {
        cluster_id: "t".into(),
        node_name: "here".into(),
        node_ip: Ipv4Addr::new(10, 88, 0, 1),
        pod_cidr: "10.244.0.0/16".into(),
        service_cidr: "10.96.0.0/16".into(),
        cluster_dns: Ipv4Addr::new(10, 96, 0, 10),
    }
}

/// `endpoints("10.244.0.2@here 10.244.1.2@there!")`: `!` is not ready, `~` is ending but serves.
fn slice(service: &str, endpoints: &str) -> EndpointSlice {
    let endpoints: Vec<Value> = endpoints
        .split_whitespace()
        .map(|word| {
            let (address, node) = word.split_once('@').unwrap();
            let conditions = match node.chars().last() {
                Some('!') => json!({"ready": false}),
                Some('~') => json!({"ready": false, "serving": true, "terminating": true}),
                _ => json!({"ready": true}),
            };
            let node = node.trim_end_matches(['!', '~']);
            json!({"addresses": [address], "nodeName": node, "conditions": conditions})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": service, "namespace": "default", "labels": {SERVICE_NAME: service}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
    }))
    .unwrap()
}

fn service(extra: &Value) -> Service {
    let mut spec = json!({"clusterIP": "10.96.0.20", "ports": [{"port": 80, "nodePort": 30080}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
    )
    .unwrap()
}

/// Fronts as `10.96.0.20:80 -> 10.244.0.2:8080 …`; `*` is a node port, `=` keeps the source.
fn check(extra: &Value, endpoints: &str, expected: &[&str]) {
    let (service, slice) = (service(extra), slice("web", endpoints));
    let state = build(&config(), [&service].into_iter(), [&slice].into_iter());
    let shown: Vec<String> = state
        .fronts
        .iter()
        .map(|(front, back)| {
            let address = front.address.map_or_else(|| "*".into(), |it| it.to_string());
            let arrow = if back.keeps_source { "=" } else { "->" };
            let targets: Vec<_> =
                back.targets.iter().map(|(ip, port)| format!("{ip}:{port}")).collect();
            format!("{address}:{} {arrow} {}", front.port, targets.join(" ")).trim().to_owned()
        })
        .collect();
    assert_eq!(shown, expected, "{extra} {endpoints}");
}

#[test]
fn fronts_lead_to_ready_targets() {
    let none = json!({});
    check(
        &none,
        "10.244.0.2@here 10.244.1.2@there",
        &[
            "*:30080 -> 10.244.0.2:8080 10.244.1.2:8080",
            "10.96.0.20:80 -> 10.244.0.2:8080 10.244.1.2:8080",
        ],
    );
    check(
        &none,
        "10.244.0.2@here! 10.244.1.2@there",
        &["*:30080 -> 10.244.1.2:8080", "10.96.0.20:80 -> 10.244.1.2:8080"],
    );
    check(&none, "10.244.0.2@here!", &["*:30080 ->", "10.96.0.20:80 ->"]);
}

#[test]
fn ending_targets_serve_while_no_other_is_ready() {
    let none = json!({});
    check(
        &none,
        "10.244.0.2@here~ 10.244.1.2@there!",
        &["*:30080 -> 10.244.0.2:8080", "10.96.0.20:80 -> 10.244.0.2:8080"],
    );
}

#[test]
fn traffic_policies_keep_connections_on_the_node() {
    let endpoints = "10.244.0.2@here 10.244.1.2@there";
    check(
        &json!({"externalTrafficPolicy": "Local"}),
        endpoints,
        &["*:30080 = 10.244.0.2:8080", "10.96.0.20:80 -> 10.244.0.2:8080 10.244.1.2:8080"],
    );
    check(
        &json!({"internalTrafficPolicy": "Local"}),
        endpoints,
        &["*:30080 -> 10.244.0.2:8080 10.244.1.2:8080", "10.96.0.20:80 -> 10.244.0.2:8080"],
    );
}

#[test]
fn services_without_an_address_of_ours_have_no_front() {
    let ports = json!([{"port": 53}]);
    check(&json!({"clusterIP": "None", "ports": ports}), "10.244.0.2@here", &[]);
    check(&json!({"clusterIP": "10.96.0.10", "ports": ports}), "10.244.0.2@here", &[]);
    check(&json!({"type": "ExternalName", "clusterIP": "", "ports": ports}), "", &[]);
}
