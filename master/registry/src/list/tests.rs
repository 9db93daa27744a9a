//! What must hold of every kind on the list.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[test]
fn paths_and_storage_places_are_distinct() {
    let (mut paths, mut places) = (BTreeSet::new(), BTreeSet::new());
    for resource in builtin() {
        assert!(paths.insert((resource.api_version(), resource.plural.clone())), "{resource:?}");
        if resource.is_stored() && resource.stored_as.is_none() {
            let (group, plural) = resource.storage();
            assert!(places.insert((group.to_owned(), plural.to_owned())), "{resource:?}");
        }
    }
}

#[test]
fn every_kind_has_a_schema_with_metadata() {
    for resource in builtin() {
        let cursor = resource.schema.cursor().expect("a schema");
        assert_eq!(cursor.type_name(), Some(resource.schema.name()));
        let is_bare = resource.kind == "Binding";
        assert!(cursor.field("metadata").is_some() || is_bare, "{}", resource.kind);
    }
}

#[test]
fn scopes_are_upstreams() {
    let cluster: BTreeSet<String> = builtin()
        .iter()
        .filter(|resource| !resource.namespaced && resource.is_stored())
        .map(|resource| resource.plural.to_string())
        .collect();
    for plural in ["namespaces", "nodes", "persistentvolumes", "clusterroles", "storageclasses"] {
        assert!(cluster.contains(plural), "{plural}");
    }
    for plural in ["pods", "services", "events", "leases", "roles", "deployments"] {
        assert!(!cluster.contains(plural), "{plural}");
    }
}

#[test]
fn hooks_survive_objects_of_any_shape() {
    let now = Timestamp::UNIX_EPOCH;
    let shapes = [
        json!({}),
        json!({"metadata": [], "spec": 5, "status": ""}),
        json!({"spec": {"template": [], "ports": {}, "containers": 7, "selector": []}, "data": 1}),
        json!({"spec": {"template": {"spec": {"containers": [{}], "volumes": [{}]}}, "ports": [{}]}}),
    ];
    for resource in builtin() {
        let strategy = &resource.strategy;
        let known = strategy.fields(&json!({})).into_keys().collect::<Vec<_>>();
        for shape in &shapes {
            let mut object = shape.clone();
            strategy.default(&mut object);
            let once = object.clone();
            strategy.default(&mut object);
            assert_eq!(
                object, once,
                "{}: defaults fill gaps, and then none is left",
                resource.kind
            );
            let _: (Vec<_>, Vec<_>) =
                (resource.validate(&object, None), resource.validate(&object, Some(shape)));
            assert_eq!(
                strategy.row(&object, now).len(),
                strategy.columns().len(),
                "{}",
                resource.kind
            );
            assert_eq!(
                strategy.fields(&object).into_keys().collect::<Vec<_>>(),
                known,
                "{}",
                resource.kind
            );
            let _: (Option<i64>, Option<i64>) =
                (strategy.graceful_delete_seconds(&object), strategy.ttl_s(&object));
        }
    }
}

#[test]
fn both_views_of_events_turn_into_each_other() {
    let is_event = |resource: &&Arc<Resource>| resource.kind == "Event";
    let views = builtin();
    for resource in views.iter().filter(is_event).filter(|view| view.stored_as.is_some()) {
        let mut object: Value =
            json!({"metadata": {"name": "x"}, "note": "n", "regarding": {"kind": "Pod"}});
        resource.strategy.storage_form(&mut object);
        assert_eq!(object["message"], "n");
        resource.strategy.served_form(&mut object);
        assert_eq!(object["note"], "n");
    }
}

/// What of a kind is refused, after its defaults; with `old` as an update.
fn refused(plural: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let all = builtin();
    let found = all.iter().find(|it| it.plural == plural && it.stored_as.is_none());
    let strategy = &found.expect("the kind is there").strategy;
    let full = |object: &Value| {
        let mut object = object.clone();
        strategy.default(&mut object);
        object
    };
    let old = old.map(full);
    let found = strategy.validate(&full(new), old.as_ref());
    found.iter().map(|error| error.to_string().chars().take(150).collect()).collect()
}

/// What kube-apiserver 1.36.3 said of the same changes.
#[test]
fn what_may_not_change_stays() {
    let pod = |spec: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "schedulingGates": [{"name": "g"}]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    };
    let near = |values: Value| {
        let terms =
            json!([{"matchExpressions": [{"key": "a", "operator": "In", "values": values}]}]);
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    };
    let balanced = |class: &str| {
        json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": class, "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 1}]}})
    };
    let job = |change: Value| {
        let labels = json!({"a": "b"});
        let mut job = json!({"metadata": {"name": "j"}, "spec": {"completionMode": "Indexed", "completions": 2, "parallelism": 2,
            "manualSelector": true, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        job["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        job
    };
    let volume = |zone: &str| {
        let terms = json!([{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]);
        json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}})
    };
    let csi = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d.e", "nodeID": id, "allocatable": {"count": count}}]}});
    let range = |ranges: Value| json!({"spec": {"cidrs": ranges}});
    let node = |range: &str| json!({"spec": {"podCIDR": range}});
    let terms = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    #[rustfmt::skip]
    let cases = [
        ("pods", pod(json!({"nodeSelector": {"a": "b"}})), pod(json!({"nodeSelector": {"a": "b", "c": "d"}})), String::new()),
        ("pods", pod(json!({"nodeSelector": {"a": "b"}})), pod(json!({})), "spec.nodeSelector: Invalid value: null: only additions to spec.nodeSelector are allowed (no mutations or deletions)".into()),
        ("pods", pod(near(json!(["x"]))), pod(near(json!(["y"]))), format!("{terms}[0]: Invalid value: ")),
        ("pods", pod(near(json!(["x"]))), pod(json!({})), format!("{terms}: Invalid value: null: no additions/del")),
        ("services", balanced("a.b/c"), balanced("a.b/d"), "spec.loadBalancerClass: Invalid value: \"a.b/d\": may not change once set".into()),
        ("jobs", job(json!({})), job(json!({"completions": 3, "parallelism": 3})), String::new()),
        ("jobs", job(json!({})), job(json!({"completions": 3})), "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism".into()),
        ("jobs", job(json!({"managedBy": "a.b/c"})), job(json!({"managedBy": "a.b/d"})), "spec.managedBy: Invalid value: \"a.b/d\": field is immutable".into()),
        ("persistentvolumes", volume("a"), volume("b"), "nodeAffinity: Invalid value: ".into()),
        ("csidrivers", json!({"spec": {}}), json!({"spec": {"attachRequired": false}}), "spec.attachedRequired: Invalid value: false: field is immutable".into()),
        ("csinodes", csi("n", 1), csi("n", 2), String::new()),
        ("csinodes", csi("n", 1), csi("m", 1), "spec.drivers: Invalid value: ".into()),
        ("servicecidrs", range(json!(["10.1.0.0/16"])), range(json!(["10.1.0.0/16", "fd00::/64"])), String::new()),
        ("servicecidrs", range(json!(["10.1.0.0/16"])), range(json!(["10.1.0.0/16", ""])), "spec.cidrs[1]: Invalid value: \"\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()),
        ("nodes", node("10.0.0.0/24"), node("10.0.1.0/24"), "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid".into()),
    ];
    for (plural, old, new, expected) in cases {
        let found = refused(plural, &new, Some(&old));
        let is_as_expected = match found.first() {
            None => expected.is_empty(),
            Some(first) => !expected.is_empty() && first.starts_with(&expected),
        };
        assert!(is_as_expected, "{plural} {new}: {found:?}");
    }
}

/// What kube-apiserver 1.36.3 said of the same names: some kinds are less strict than others.
#[test]
fn names_are_judged_by_kind() {
    let accepts = |plural: &str| {
        let all = builtin();
        let found = all.iter().find(|it| it.plural == plural).expect("the kind is there");
        found.strategy.name_problems("Bad_x").is_empty()
    };
    for plural in ["events", "poddisruptionbudgets", "roles", "certificatesigningrequests"] {
        assert!(accepts(plural), "{plural}");
    }
    for plural in ["pods", "configmaps", "flowschemas", "prioritylevelconfigurations"] {
        assert!(!accepts(plural), "{plural}");
    }
}

/// What is wrong with a status, in upstream's words.
#[test]
fn statuses_are_judged_by_kind() {
    let found = |plural: &str, status: Value| -> Vec<String> {
        let all = builtin();
        let resource = all.iter().find(|it| it.plural == plural).expect("the kind is there");
        let new = json!({ "status": status });
        let errors = resource.strategy.validate_status(&new, &new);
        errors.iter().map(ToString::to_string).collect()
    };
    #[rustfmt::skip]
    let cases = [
        ("statefulsets", json!({"collisionCount": -1}), vec!["status.collisionCount: Invalid value: -1: must be greater than or equal to 0"]),
        ("statefulsets", json!({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}),
         vec!["status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"]),
        ("deployments", json!({"replicas": 1, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}),
         vec!["status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas"]),
        ("replicasets", json!({"replicas": 1, "availableReplicas": 1}), vec!["status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"]),
        ("replicationcontrollers", json!({"replicas": 1, "fullyLabeledReplicas": 2}),
         vec!["status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"]),
        ("daemonsets", json!({"numberReady": -1}), vec!["status.numberReady: Invalid value: -1: must be greater than or equal to 0"]),
        ("resourcequotas", json!({"used": {"pods": "1500m"}}), vec!["status.used[pods]: Invalid value: \"1500m\": must be an integer"]),
        ("resourcequotas", json!({"hard": {"foo": "1"}}), vec!["status.hard[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
            "status.hard[foo]: Invalid value: \"foo\": must be a standard resource for quota"]),
        ("services", json!({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}),
         vec!["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]),
        ("ingresses", json!({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}), vec![]),
        ("certificatesigningrequests", json!({"certificate": "aGVsbG8="}),
         vec!["status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"]),
        ("namespaces", json!({"phase": "Active"}), vec![]),
        ("namespaces", json!({"phase": "Nope"}), vec!["status.Phase: Invalid value: \"Nope\": may only be 'Active' if `deletionTimestamp` is empty"]),
        ("poddisruptionbudgets", json!({"conditions": [{"type": "A", "status": "True"}]}),
         vec!["status.conditions[0].lastTransitionTime: Required value", "status.conditions[0].reason: Required value"]),
    ];
    for (plural, status, expected) in cases {
        assert_eq!(found(plural, status.clone()), expected, "{plural} {status}");
    }
}

/// As often as kube-apiserver 1.36.3 tells it.
#[test]
fn findings_of_some_kinds_are_told_twice_on_update() {
    let all = builtin();
    let found = |plural: &str, object: Value| -> usize {
        let resource = all.iter().find(|it| it.plural == plural).expect("the kind is there");
        resource.strategy.validate(&object, Some(&object)).len()
    };
    let taint = json!({"key": "k", "effect": "x"});
    assert_eq!(found("nodes", json!({"spec": {"taints": [taint], "podCIDRs": ["x"]}})), 3);
    let volume = json!({"spec": {"accessModes": ["x"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}});
    assert_eq!(found("persistentvolumes", volume), 2);
    let class = json!({"provisioner": "Bad!", "volumeBindingMode": "Immediate"});
    assert_eq!(found("storageclasses", class), 1);
}

/// What kube-apiserver 1.36.3 said of the same creations.
#[test]
fn what_makes_no_sense_is_not_kept() {
    let claim = |change: Value| {
        let mut devices = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]});
        devices.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"spec": {"devices": devices}})
    };
    let selector = |source: &str| json!({"spec": {"selectors": [{"cel": {"expression": source}}]}});
    let slice = |attribute: Value| {
        json!({"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
            "devices": [{"name": "x", "attributes": {"a": attribute}}]}})
    };
    let limits = |ratio: &str| json!({"spec": {"limits": [{"type": "Container", "maxLimitRequestRatio": {"cpu": ratio}}]}});
    #[rustfmt::skip]
    let cases = [
        ("deviceclasses", selector("device.driver == 'a' && device.attributes['a'].b"), ""),
        ("deviceclasses", selector("isSemver(device.attributes['a'].b)"), ""),
        ("deviceclasses", selector("other"), "spec.selectors[0].cel.expression: Invalid value: \"other\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'other' (in contain"),
        ("deviceclasses", json!({"spec": {"config": [{"opaque": {"driver": "d"}}]}}), "spec.config[0].opaque.parameters: Required value"),
        ("resourceclaims", claim(json!({"constraints": [{"matchAttribute": "a.b/c"}]})), ""),
        ("resourceclaims", claim(json!({"constraints": [{"matchAttribute": "other"}]})), "spec.devices.constraints[0].matchAttribute: Invalid value: \"other\": a fully qualified name must be a domain and a name separated by a slash"),
        ("resourceclaims", claim(json!({"constraints": [{"requests": ["r", "r"], "matchAttribute": "a.b/c"}]})), "spec.devices.constraints[0].requests[1]: Duplicate value: \"r\""),
        ("resourceclaimtemplates", json!({"spec": {"metadata": {"labels": {"a": "b c"}}, "spec": claim(json!({}))["spec"]}}), "spec.metadata.labels: Invalid value: \"b c\": a valid label must be"),
        ("resourceclaims", claim(json!({"requests": [{"exactly": {"deviceClassName": "c"}}]})), "spec.devices.requests[0].name: Invalid value: \"\": a lowercase RFC 1123 label"),
        ("deviceclasses", selector(""), "spec.selectors[0].cel.expression: Invalid value: \"\": compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>'"),
        ("resourceslices", slice(json!({"bool": true})), ""),
        ("resourceslices", slice(json!({})), "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified"),
        ("limitranges", limits("2"), ""),
        ("limitranges", limits("0"), "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"0\": ratio 0 is less than 1"),
        ("namespaces", json!({"spec": {"finalizers": ["other"]}}), "spec.finalizers: Invalid value: \"other\": name is neither a standard finalizer name nor is it fully qualified"),
        ("certificatesigningrequests", json!({"spec": {"request": "eA==", "signerName": "a.b/c", "usages": ["any"]}}), "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST"),
        ("storageclasses", json!({"provisioner": "p", "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]},
            {"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}]}), "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""),
    ];
    for (plural, new, expected) in cases {
        let found = refused(plural, &new, None);
        let is_as_expected = match found.first() {
            None => expected.is_empty(),
            Some(first) => !expected.is_empty() && first.starts_with(expected),
        };
        assert!(is_as_expected, "{plural} {new}: {found:?}");
    }
}
