//! Limit ranges and quotas.

use super::*;

fn limit_range(limits: Value) -> Value {
    let mut range = core("LimitRange", "a/limits");
    range["spec"] = json!({ "limits": limits });
    range
}

fn sized(requests: Value, limits: Value) -> Value {
    let mut pod = pod("a/p", "");
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": requests, "limits": limits });
    pod
}

#[test]
fn silent_containers_get_the_defaults() {
    let objects = cluster();
    objects.put(limit_range(json!([
        { "type": "Container", "default": { "cpu": "500m", "memory": "128Mi" }, "defaultRequest": { "cpu": "100m" } },
    ])));
    let mut made = sized(json!({ "cpu": "50m" }), json!({}));
    as_root(&objects).run("create core pods a/p", &mut made, None).unwrap();
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        json!({ "requests": { "cpu": "50m" }, "limits": { "cpu": "500m", "memory": "128Mi" } })
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory limit for container main"
    );
}

#[test]
fn everything_stays_within_least_and_most() {
    let table = [
        (
            json!({ "max": { "cpu": "1" } }),
            json!({}),
            json!({ "cpu": "2" }),
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            json!({ "max": { "cpu": "1" } }),
            json!({}),
            json!({}),
            "maximum cpu usage per Container is 1.  No limit is specified",
        ),
        (json!({ "max": { "cpu": "1" } }), json!({}), json!({ "cpu": "1" }), ""),
        (
            json!({ "min": { "cpu": "100m" } }),
            json!({ "cpu": "50m" }),
            json!({}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            json!({ "min": { "cpu": "100m" } }),
            json!({}),
            json!({}),
            "minimum cpu usage per Container is 100m.  No request is specified",
        ),
        (
            json!({ "maxLimitRequestRatio": { "cpu": "2" } }),
            json!({ "cpu": "1" }),
            json!({ "cpu": "3" }),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            json!({ "maxLimitRequestRatio": { "cpu": "2" } }),
            json!({ "cpu": "1" }),
            json!({ "cpu": "2" }),
            "",
        ),
    ];
    for (mut limit, requests, limits, refusal) in table {
        let objects = cluster();
        limit["type"] = json!("Container");
        objects.put(limit_range(json!([limit])));
        let refusal = if refusal.is_empty() {
            String::new()
        } else {
            format!("pods \"p\" is forbidden: {refusal}")
        };
        as_root(&objects).check("create core pods a/p", sized(requests, limits), None, &refusal);
    }
}

fn quota(hard: Value, spec: Value) -> Value {
    let mut quota = core("ResourceQuota", "a/q");
    quota["spec"] = spec;
    quota["spec"]["hard"] = hard;
    quota
}

#[test]
fn a_namespace_takes_no_more_than_its_quota() {
    let objects = cluster();
    objects.put(quota(json!({ "pods": "2", "requests.cpu": "1", "configmaps": "1", "count/deployments.apps": "1" }), json!({})));
    let root = as_root(&objects);
    let asking = |cpu: &str| sized(json!({ "cpu": cpu }), json!({}));
    let existing = |name: &str, cpu: &str, phase: &str| {
        let mut pod = pod(name, "n1");
        pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu } });
        pod["status"] = json!({ "phase": phase });
        objects.put(pod);
    };
    existing("a/running", "600m", "Running");
    existing("a/done", "600m", "Succeeded");
    existing("b/elsewhere", "600m", "Running");
    root.check("create core pods a/p", asking("400m"), None, "");
    root.check("create core pods a/p", asking("401m"), None,
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=401m, used: requests.cpu=600m, limited: requests.cpu=1");
    root.check(
        "create core pods a/p",
        pod("a/p", ""),
        None,
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: main",
    );
    existing("a/second", "1m", "Running");
    root.check("create core pods a/p", asking("1m"), None,
        "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2");
    objects.put(core("ConfigMap", "a/one"));
    root.check("create core configmaps a/two", core("ConfigMap", "a/two"), None,
        "configmaps \"two\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1");
    root.check(
        "update core configmaps a/one",
        core("ConfigMap", "a/one"),
        Some(&core("ConfigMap", "a/one")),
        "",
    );
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d", "namespace": "a" } });
    root.check("create apps deployments a/d", deployment.clone(), None, "");
    objects.put(deployment);
    root.check("create apps deployments a/e", json!({}), None,
        "deployments.apps \"e\" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1");
}

#[test]
fn a_quota_with_scopes_counts_only_what_is_in_them() {
    let objects = cluster();
    objects.put(quota(json!({ "pods": "0" }), json!({ "scopes": ["BestEffort"] })));
    let root = as_root(&objects);
    root.check("create core pods a/p", sized(json!({ "cpu": "1" }), json!({})), None, "");
    root.check("create core pods a/p", pod("a/p", ""), None,
        "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0");
    objects.put(quota(json!({ "pods": "0" }), json!({ "scopeSelector": { "matchExpressions": [
        { "scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"] }] } })));
    root.check("create core pods a/p", pod("a/p", ""), None, "");
    let mut critical = pod("a/p", "");
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    assert!(root.run("create core pods a/p", &mut critical, None).is_err());
}

#[test]
fn what_is_used_is_what_the_status_says_once_it_says_so() {
    let objects = cluster();
    let mut known = quota(json!({ "pods": "3", "configmaps": "1" }), json!({}));
    known["status"] = json!({ "hard": { "pods": "3" }, "used": { "pods": "2" } });
    objects.put(known);
    let root = as_root(&objects);
    root.check("create core pods a/p", pod("a/p", ""), None, "");
    let asked = crate::fixture::request(&root.who, "create core pods a/p");
    let request = Request {
        operation: Operation::Create,
        group: &asked.group,
        resource: &asked.resource,
        subresource: "",
        kind: "Pod",
        namespace: &asked.namespace,
        name: &asked.name,
        old: None,
        identity: &root.who,
        reader: objects.as_ref(),
        dry_run: false,
    };
    let charged = resource_quota::charges(&request, &pod("a/p", "")).unwrap();
    assert_eq!(
        charged[0].quota["status"],
        json!({ "hard": { "pods": "3" }, "used": { "pods": "3" } })
    );
    objects.put(charged[0].quota.clone());
    root.check("create core pods a/p", pod("a/p", ""), None,
        "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3");
}

#[test]
fn a_recount_finds_what_is_there() {
    let counted = quota(
        json!({ "pods": "3", "requests.cpu": "2", "services.nodeports": "1", "count/deployments.apps": "5" }),
        json!({}),
    );
    let resources = resource_quota::counted_resources(&counted);
    let name = |(group, plural): &(String, String)| format!("{plural}.{group}");
    assert_eq!(
        resources.iter().map(name).collect::<Vec<_>>(),
        ["pods.", "services.", "deployments.apps"]
    );
    let pods = vec![
        Arc::new(sized(json!({ "cpu": "600m" }), json!({}))),
        Arc::new(sized(json!({ "cpu": "600m" }), json!({}))),
    ];
    let listed =
        vec![(resources[0].clone(), pods), (resources[2].clone(), vec![Arc::new(json!({}))])];
    let used = resource_quota::recount(&counted, &listed)["used"].clone();
    let expected = json!({ "pods": "2", "requests.cpu": "1200m", "services.nodeports": "0", "count/deployments.apps": "1" });
    assert_eq!(used, expected);
}

#[test]
fn pods_that_look_beyond_their_namespace_are_a_scope() {
    let objects = cluster();
    objects.put(quota(json!({ "pods": "0" }), json!({ "scopes": ["CrossNamespacePodAffinity"] })));
    let root = as_root(&objects);
    root.check("create core pods a/p", pod("a/p", ""), None, "");
    let mut nosy = pod("a/p", "");
    nosy["spec"]["affinity"] = json!({ "podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{ "namespaces": ["b"], "topologyKey": "x" }] } });
    assert!(root.run("create core pods a/p", &mut nosy, None).is_err());
}

#[test]
fn node_ports_and_storage_count() {
    let objects = cluster();
    objects.put(quota(json!({ "services.nodeports": "1", "requests.storage": "1Gi" }), json!({})));
    let root = as_root(&objects);
    let mut service = core("Service", "a/s");
    service["spec"] = json!({ "type": "NodePort", "ports": [{ "port": 1 }, { "port": 2 }] });
    root.check("create core services a/s", service, None,
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1");
    let mut claim = core("PersistentVolumeClaim", "a/c");
    claim["spec"] = json!({ "resources": { "requests": { "storage": "2Gi" } } });
    root.check("create core persistentvolumeclaims a/c", claim, None,
        "persistentvolumeclaims \"c\" is forbidden: exceeded quota: q, requested: requests.storage=2Gi, used: requests.storage=0, limited: requests.storage=1Gi");
}

#[test]
fn pod_is_not_resized_beyond_its_node() {
    let objects = cluster();
    let mut small = core("Node", "small");
    small["status"] = json!({ "allocatable": { "cpu": "2", "memory": "1Gi" } });
    objects.put(small);
    let on_node = |requests: Value, node: &str| {
        let mut pod = sized(requests, json!({}));
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    let check = |requests: Value, node: &str, expected: &str| {
        let old = on_node(json!({ "cpu": "1" }), node);
        let mut new = on_node(requests, node);
        let said = as_root(&objects).run("update core pods/resize a/p", &mut new, Some(&old));
        let said = said.err().unwrap_or_default();
        assert_eq!(said.strip_prefix("pods \"p\" is forbidden: ").unwrap_or(&said), expected);
    };
    check(json!({ "cpu": "2", "memory": "1Gi" }), "small", "");
    check(json!({ "cpu": "9" }), "", "");
    check(
        json!({ "cpu": "2001m", "memory": "2Gi" }),
        "small",
        "node didn't have enough allocatable resources: cpu, requested: 2001, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
    );
    check(json!({ "cpu": "2" }), "gone", "node \"gone\" not found");
}
