//! Environments: expansion, sources, services.

use std::sync::Arc;

use serde_json::json;

use super::*;

fn facts() -> Facts {
    Facts {
        host_ip: "10.0.0.1".parse().unwrap(),
        pod_ips: vec!["10.244.1.5".parse().unwrap()],
        cpu_milli: 4_000,
        memory_bytes: 1 << 30,
    }
}

fn built(container: serde_json::Value, sources: &Sources) -> Result<BTreeMap<String, String>> {
    let container: Container = serde_json::from_value(container).unwrap();
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "team", "labels": {"app": "web"}},
        "spec": {"containers": []},
    }))
    .unwrap();
    pod.spec.as_mut().unwrap().containers.push(container.clone());
    let service = |namespace: &str, name: &str, ip: &str| {
        let spec = json!({"clusterIP": ip, "ports": [{"name": "http", "port": 80}]});
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        Arc::new(serde_json::from_value::<Service>(object).unwrap())
    };
    let services = [
        service("default", "kubernetes", "10.96.0.1"),
        service("team", "my-db", "10.96.0.9"),
        service("other", "hidden", "10.96.0.8"),
        service("team", "headless", "None"),
    ];
    environment(&pod, &container, sources, &services, &facts()).map(|all| all.into_iter().collect())
}

#[test]
fn references_expand_and_escapes_stay() {
    let check = |input: &str, expected: &str| {
        let look = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand(input, look), expected);
    };
    check("x$(A)y", "x1y");
    check("$$(A)", "$(A)");
    check("$(B)", "$(B)");
    check("$A $", "$A $");
    check("$(A", "$(A");
}

#[test]
fn services_of_the_namespace_and_the_api_server_are_announced() {
    let values = built(json!({"name": "c"}), &Sources::default()).unwrap();
    assert_eq!(values["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
    assert_eq!(values["MY_DB_PORT_80_TCP_ADDR"], "10.96.0.9");
    assert_eq!(values["MY_DB_SERVICE_PORT_HTTP"], "80");
    assert!(!values.keys().any(|key| key.starts_with("HIDDEN") || key.starts_with("HEADLESS")));
}

#[test]
fn own_values_win_and_see_what_came_before() {
    let mut sources = Sources::default();
    let map = json!({"metadata": {"name": "cm"}, "data": {"COLOR": "red", "SIZE": "9"}});
    sources.config_maps.insert("cm".into(), Some(serde_json::from_value(map).unwrap()));
    let values = built(
        json!({"name": "c",
        "envFrom": [{"prefix": "X_", "configMapRef": {"name": "cm"}}],
        "env": [
            {"name": "X_SIZE", "value": "1"},
            {"name": "BOTH", "value": "$(X_COLOR)-$(X_SIZE)-$(LATER)"},
            {"name": "LATER", "value": "z"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]}),
        &sources,
    )
    .unwrap();
    assert_eq!(values["BOTH"], "red-1-$(LATER)");
    assert_eq!((&*values["IP"], &*values["APP"], &*values["CPU"]), ("10.244.1.5", "web", "4"));
}

#[test]
fn missing_sources_are_errors_unless_optional() {
    let key = |optional: bool| {
        let reference = json!({"name": "none", "key": "k", "optional": optional});
        json!({"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]})
    };
    assert!(!built(key(true), &Sources::default()).unwrap().contains_key("A"));
    let error = built(key(false), &Sources::default()).unwrap_err();
    assert_eq!(error.to_string(), "secret \"none\" not found");
    assert_eq!(error.reason(), "CreateContainerConfigError");
}
