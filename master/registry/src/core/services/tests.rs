//! Services from the client's fields to what is stored and claimed.

use std::sync::Arc;

use master_api::access::{Identity, Reader};

use super::*;
use crate::strategy::ClusterConfig;

#[derive(Debug, Default)]
struct Known(Vec<Arc<Value>>);

impl Reader for Known {
    fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Value>> {
        self.0.clone()
    }
}

fn with_cx<T>(
    others: &[Value],
    attempt: u32,
    config: &ClusterConfig,
    run: impl FnOnce(&Cx<'_>) -> T,
) -> T {
    let reader = Known(others.iter().cloned().map(Arc::new).collect());
    let identity = Identity::default();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    run(&Cx { identity: &identity, now, reader: &reader, config, attempt, draw: || 1000 })
}

fn created(
    spec: Value,
    others: &[Value],
    attempt: u32,
) -> Result<(Value, Vec<Companion>), Vec<String>> {
    let mut service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    with_cx(others, attempt, &ClusterConfig::default(), |cx| {
        Services.default(&mut service);
        Services.prepare_create(&mut service, cx);
        let words = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect();
        let errors = Services.validate(&service, None);
        if !errors.is_empty() {
            return Err(words(errors));
        }
        let companions = Services.companions(Some(&mut service), None, cx).map_err(words)?;
        Ok((service, companions))
    })
}

fn updated(old: &Value, spec: Value) -> Result<(Value, Vec<Companion>), Vec<String>> {
    let mut new = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    with_cx(&[], 0, &ClusterConfig::default(), |cx| {
        Services.default(&mut new);
        Services.prepare_update(&mut new, old, cx);
        let words = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect();
        let errors = Services.validate(&new, Some(old));
        if !errors.is_empty() {
            return Err(words(errors));
        }
        let companions = Services.companions(Some(&mut new), Some(old), cx).map_err(words)?;
        Ok((new, companions))
    })
}

fn keys(companions: &[Companion]) -> Vec<String> {
    let short = |key: &String| {
        let key = key.replace("/registry/networking.k8s.io/ipaddresses/", "serviceips/");
        key.trim_start_matches("/registry/ranges/").to_owned()
    };
    let key = |companion: &Companion| match companion {
        Companion::Claim { key, .. } => format!("+{}", short(key)),
        Companion::Guard { key, .. } => format!("={}", short(key)),
        Companion::ReleaseAll { prefix } => format!("-{prefix}*"),
        Companion::Release { key } => format!("-{}", short(key)),
    };
    let mut keys: Vec<String> = companions.iter().map(key).collect();
    keys.sort();
    keys
}

#[test]
fn a_service_gets_an_address_and_defaults() {
    let (service, companions) =
        created(json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}), &[], 0).unwrap();
    let expected = json!({
        "type": "ClusterIP", "sessionAffinity": "None", "selector": {"a": "b"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "clusterIP": "10.96.4.233", "clusterIPs": ["10.96.4.233"],
    });
    assert_eq!(service["spec"], expected);
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
    assert_eq!(keys(&companions), ["+serviceips/10.96.4.233"]);
}

#[test]
fn types_get_what_they_need() {
    let ports = json!([{"port": 80}]);
    #[rustfmt::skip]
    let cases = [
        (json!({"type": "NodePort", "ports": ports}),           vec!["+nodeports/tcp/31086", "+serviceips/10.96.4.233"]),
        (json!({"type": "LoadBalancer", "ports": ports}),       vec!["+nodeports/tcp/31086", "+serviceips/10.96.4.233"]),
        (json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}), vec!["+serviceips/10.96.4.233"]),
        (json!({"type": "LoadBalancer", "ports": ports, "externalTrafficPolicy": "Local"}),
         vec!["+nodeports/tcp/31086", "+nodeports/tcp/31087", "+serviceips/10.96.4.233"]),
        (json!({"clusterIP": "None"}),                          vec![]),
        (json!({"type": "ExternalName", "externalName": "a.b"}), vec![]),
        (json!({"clusterIP": "10.96.0.10", "ports": ports}),    vec!["+serviceips/10.96.0.10"]),
        (json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "name": "t"}]}),
         vec!["+nodeports/tcp/31086", "+nodeports/udp/31086", "+serviceips/10.96.4.233"]),
        (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}), vec!["+nodeports/tcp/30001", "+serviceips/10.96.4.233"]),
    ];
    for (spec, expected) in cases {
        let (_, companions) = created(spec.clone(), &[], 0).unwrap();
        assert_eq!(keys(&companions), expected, "{spec}");
    }
}

#[test]
fn a_lost_draw_moves_on_and_a_lost_choice_is_refused() {
    let other = json!({"metadata": {"name": "o", "namespace": "n"}, "spec": {"type": "NodePort",
        "clusterIP": "10.96.4.233", "clusterIPs": ["10.96.4.233"], "ports": [{"protocol": "TCP", "nodePort": 31086}]}});
    let others = [other];
    let ports = json!([{"port": 80}]);
    let (service, _) = created(json!({"type": "NodePort", "ports": ports}), &others, 1).unwrap();
    assert_eq!(service["spec"]["clusterIP"], "10.96.4.234");
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 31087);
    #[rustfmt::skip]
    let cases = [
        (json!({"clusterIP": "10.96.4.233", "ports": ports}),
         r#"spec.clusterIPs: Invalid value: ["10.96.4.233"]: failed to allocate IP 10.96.4.233: provided IP is already allocated"#),
        (json!({"clusterIP": "1.2.3.4", "ports": ports}),
         r#"spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.96.0.0/16"#),
        (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 31086}]}),
         "spec.ports[0].nodePort: Invalid value: 31086: provided port is already allocated"),
        (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
         "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ];
    for (spec, expected) in cases {
        assert_eq!(created(spec, &others, 1), Err(vec![expected.to_owned()]));
    }
}

#[test]
fn updates_keep_what_was_allocated_and_give_back_the_rest() {
    let ports = json!([{"port": 80}]);
    let (old, _) = created(json!({"type": "NodePort", "ports": ports}), &[], 0).unwrap();
    let (same, companions) = updated(&old, json!({"type": "NodePort", "ports": ports})).unwrap();
    assert_eq!((&same["spec"], companions), (&old["spec"], vec![]));
    let (inside, companions) = updated(&old, json!({"type": "ClusterIP", "ports": ports})).unwrap();
    assert_eq!(keys(&companions), ["-nodeports/tcp/31086"]);
    assert_eq!(inside["spec"]["clusterIP"], old["spec"]["clusterIP"]);
    let name = json!({"type": "ExternalName", "externalName": "a.b", "ports": ports});
    let (_, companions) = updated(&old, name).unwrap();
    assert_eq!(keys(&companions), ["-nodeports/tcp/31086", "-serviceips/10.96.4.233"]);
    let mut whole = old["spec"].clone();
    whole["type"] = "ClusterIP".into();
    let (_, companions) = updated(&old, whole).unwrap();
    assert_eq!(keys(&companions), ["-nodeports/tcp/31086"]);
    // None are given out any more; those that are there stay.
    let balanced = json!({"type": "LoadBalancer", "ports": ports});
    let (balanced, _) = created(balanced, &[], 0).unwrap();
    let mut whole = balanced["spec"].clone();
    whole["allocateLoadBalancerNodePorts"] = false.into();
    let (new, companions) = updated(&balanced, whole).unwrap();
    assert_eq!((keys(&companions), &new["spec"]["ports"][0]["nodePort"]), (vec![], &json!(31086)));
    let address = old["spec"]["clusterIP"].clone();
    #[rustfmt::skip]
    let cases = [
        (json!({"clusterIP": "10.96.0.9"}),
         vec![r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#]),
        (json!({"clusterIP": "10.96.0.9", "clusterIPs": [address]}),
         vec![r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#]),
        // Whoever changes that one says both.
        (json!({"clusterIP": address, "clusterIPs": ["10.96.0.9"]}),
         vec![r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#,
              r#"spec.clusterIPs: Invalid value: ["10.96.0.9"]: first value must match `clusterIP`"#]),
    ];
    for (mut spec, expected) in cases {
        spec["type"] = "NodePort".into();
        spec["ports"] = ports.clone();
        let moved = updated(&old, spec.clone()).unwrap_err();
        assert_eq!(moved, expected, "{spec}");
    }
    // Cleared by a client that does not know of the other.
    let named = json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "", "clusterIPs": [address]});
    let (named, companions) = updated(&old, named).unwrap();
    assert_eq!((named["spec"].get("clusterIPs"), companions.len()), (None, 2));
}

#[test]
fn a_deleted_service_gives_everything_back() {
    let (old, _) = created(json!({"type": "NodePort", "ports": [{"port": 80}]}), &[], 0).unwrap();
    let companions =
        with_cx(&[], 0, &ClusterConfig::default(), |cx| Services.companions(None, Some(&old), cx));
    assert_eq!(keys(&companions.unwrap()), ["-nodeports/tcp/31086", "-serviceips/10.96.4.233"]);
}

#[test]
fn a_full_range_is_said_to_be_full() {
    let config =
        ClusterConfig { service_cidr: "10.0.0.0/30".parse().unwrap(), ..ClusterConfig::default() };
    let service = |name: &str, address: Option<&str>| {
        let mut service = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"type": "ClusterIP", "ports": []}});
        if let Some(address) = address {
            service["spec"]["clusterIPs"] = json!([address]);
        }
        service
    };
    let mut others = vec![service("a", Some("10.0.0.1"))];
    let allocate = |others: &[Value]| {
        let mut new = service("new", None);
        with_cx(others, 1, &config, |cx| Services.companions(Some(&mut new), None, cx))
            .map(|_| new["spec"]["clusterIP"].clone())
    };
    assert_eq!(allocate(&others).unwrap(), "10.0.0.2");
    others.push(service("b", Some("10.0.0.2")));
    assert!(allocate(&others).unwrap_err()[0].to_string().contains("range is full"));
}

#[test]
fn wrong_services_are_refused_in_upstreams_words() {
    #[rustfmt::skip]
    let cases = [
        (json!({}), "spec.ports: Required value"),
        (json!({"ports": [{"port": 80}, {"port": 81}]}), "spec.ports[0].name: Required value"),
        (json!({"type": "Odd", "ports": [{"port": 80}]}),
         r#"spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#),
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        (json!({"ports": [{"port": 80, "nodePort": 30000}]}),
         "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        (json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
         "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"),
        (json!({"clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]}),
         r#"spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified"#),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        (json!({"ports": [{"port": 80}], "externalIPs": ["127.0.0.1"]}),
         "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (json!({"ports": [{"port": 80}], "ipFamilyPolicy": "RequireDualStack"}),
         "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"),
    ];
    for (spec, expected) in cases {
        let errors = created(spec, &[], 0).unwrap_err();
        assert_eq!(errors[0], expected);
    }
}

#[test]
fn what_counts_for_nothing_is_told() {
    #[rustfmt::skip]
    let cases = [
        (json!({"type": "ClusterIP", "externalName": "a.b"}), "spec.externalName is ignored when spec.type is not \"ExternalName\""),
        (json!({"type": "ClusterIP", "loadBalancerIP": "2001:0db8::1"}),
         r#"spec.loadBalancerIP: IPv6 address "2001:0db8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#),
        (json!({"type": "ClusterIP", "clusterIPs": ["10.0.0.1", "2001:DB8::1"]}),
         r#"spec.clusterIPs[1]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#),
    ];
    for (spec, expected) in cases {
        assert_eq!(Services.warnings(&json!({"spec": spec}), None), [expected]);
    }
    let plain = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    assert_eq!(Services.warnings(&plain, None), [""; 0]);
}

#[test]
fn rows_show_type_addresses_and_ports() {
    let (mut service, _) = created(
        json!({"type": "LoadBalancer", "selector": {"a": "b"}, "ports": [{"port": 80}]}),
        &[],
        0,
    )
    .unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let cells = |service: &Value| Services.row(service, now);
    assert_eq!(
        cells(&service),
        ["s", "LoadBalancer", "10.96.4.233", "<pending>", "80:31086/TCP", "<unknown>", "a=b"]
    );
    service["status"]["loadBalancer"]["ingress"] = json!([{"ip": "1.2.3.4"}]);
    assert_eq!(cells(&service)[3], "1.2.3.4");
    let (headless, _) = created(json!({"clusterIP": "None"}), &[], 0).unwrap();
    assert_eq!(
        cells(&headless),
        ["s", "ClusterIP", "None", "<none>", "<none>", "<unknown>", "<none>"]
    );
}
