//! The flow schemas and priority levels of every cluster. Facts: Kubernetes v1.36 bootstrap policy.

use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Priority levels: name, shares, percentage others may borrow, queues, hand size (0: no queues).
const LEVELS: [(&str, i64, i64, i64, i64); 7] = [
    ("catch-all", 5, 0, 0, 0),
    ("global-default", 20, 50, 128, 6),
    ("leader-election", 10, 0, 16, 4),
    ("node-high", 40, 25, 64, 6),
    ("system", 30, 33, 64, 6),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
];

const EVERYBODY: &[&str] = &["group:system:unauthenticated", "group:system:authenticated"];
const LEADERS: &[&str] =
    &["user:system:kube-controller-manager", "user:system:kube-scheduler", "sa:kube-system/*"];

/// What a schema's rules allow.
enum Rules {
    /// Everything, paths that are no resources included.
    All,
    Paths(&'static [&'static str]),
    /// Verbs, group, resources, namespaces, whether cluster-wide too.
    Resources(
        &'static [&'static str],
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        bool,
    ),
}

const LEASE_VERBS: &[&str] = &["get", "create", "update"];
const PROBES: &[&str] = &["/healthz", "/readyz", "/livez"];

/// Flow schemas: name, level, precedence, distinguisher, subjects, rules.
type Schema =
    (&'static str, &'static str, i64, &'static str, &'static [&'static str], &'static [Rules]);

const SCHEMAS: [Schema; 13] = [
    ("catch-all", "catch-all", 10_000, "ByUser", EVERYBODY, &[Rules::All]),
    (
        "endpoint-controller",
        "workload-high",
        150,
        "ByUser",
        &[
            "user:system:kube-controller-manager",
            "sa:kube-system/endpoint-controller",
            "sa:kube-system/endpointslicemirroring-controller",
        ],
        &[Rules::Resources(LEASE_VERBS, "", &["endpoints"], &["*"], false)],
    ),
    ("exempt", "exempt", 1, "", &["group:system:masters"], &[Rules::All]),
    ("global-default", "global-default", 9_900, "ByUser", EVERYBODY, &[Rules::All]),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        &["user:system:kube-controller-manager"],
        &[Rules::All],
    ),
    (
        "kube-scheduler",
        "workload-high",
        800,
        "ByNamespace",
        &["user:system:kube-scheduler"],
        &[Rules::All],
    ),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        "ByNamespace",
        &["sa:kube-system/*"],
        &[Rules::All],
    ),
    ("probes", "exempt", 2, "", EVERYBODY, &[Rules::Paths(PROBES)]),
    (
        "service-accounts",
        "workload-low",
        9_000,
        "ByUser",
        &["group:system:serviceaccounts"],
        &[Rules::All],
    ),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        LEADERS,
        &[Rules::Resources(LEASE_VERBS, "coordination.k8s.io", &["leases"], &["*"], false)],
    ),
    (
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        &["group:system:nodes"],
        &[
            Rules::Resources(&["*"], "", &["nodes", "nodes/status"], &["*"], true),
            Rules::Resources(&["*"], "coordination.k8s.io", &["leases"], &["*"], false),
        ],
    ),
    ("system-nodes", "system", 500, "ByUser", &["group:system:nodes"], &[Rules::All]),
    (
        "workload-leader-election",
        "leader-election",
        200,
        "ByUser",
        &["sa:kube-system/*"],
        &[Rules::Resources(LEASE_VERBS, "coordination.k8s.io", &["leases"], &["*"], false)],
    ),
];

/// Priority levels first: schemas name them.
pub(super) fn objects() -> Vec<Value> {
    let exempt = object(
        "PriorityLevelConfiguration",
        "exempt",
        json!({
            "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 },
        }),
    );
    let levels = LEVELS.iter().map(level);
    let schemas = SCHEMAS.iter().map(schema);
    std::iter::once(exempt).chain(levels).chain(schemas).collect()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": GROUP, "kind": kind, "spec": spec,
        "metadata": {
            "name": name,
            "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" },
        },
    })
}

fn level(&(name, shares, lendable, queues, hand): &(&str, i64, i64, i64, i64)) -> Value {
    let response = if queues == 0 {
        json!({ "type": "Reject" })
    } else {
        let queuing = json!({ "queues": queues, "handSize": hand, "queueLengthLimit": 50 });
        json!({ "type": "Queue", "queuing": queuing })
    };
    let limited = json!({
        "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
    });
    object("PriorityLevelConfiguration", name, json!({ "type": "Limited", "limited": limited }))
}

fn schema((name, level, precedence, distinguisher, subjects, rules): &Schema) -> Value {
    let mut rule =
        json!({ "subjects": subjects.iter().map(|word| subject(word)).collect::<Vec<_>>() });
    let mut resources: Vec<Value> = Vec::new();
    let mut paths: Vec<Value> = Vec::new();
    for rules in *rules {
        match rules {
            Rules::All => {
                resources.push(json!({
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "clusterScope": true, "namespaces": ["*"],
                }));
                paths.push(json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }));
            }
            Rules::Paths(urls) => paths.push(json!({ "verbs": ["get"], "nonResourceURLs": urls })),
            Rules::Resources(verbs, group, plurals, namespaces, is_cluster_wide) => {
                let mut one = json!({
                    "verbs": verbs, "apiGroups": [group], "resources": plurals, "namespaces": namespaces,
                });
                if *is_cluster_wide {
                    one["clusterScope"] = true.into();
                }
                resources.push(one);
            }
        }
    }
    for (field, list) in [("resourceRules", resources), ("nonResourceRules", paths)] {
        if !list.is_empty() {
            rule[field] = list.into();
        }
    }
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level },
        "matchingPrecedence": precedence, "rules": [rule],
    });
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({ "type": distinguisher });
    }
    object("FlowSchema", name, spec)
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once(':').expect("a subject has a kind");
    match kind {
        "user" => json!({ "kind": "User", "user": { "name": name } }),
        "group" => json!({ "kind": "Group", "group": { "name": name } }),
        _ => {
            let (namespace, name) = name.split_once('/').expect("an account has a namespace");
            json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": name } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_names_a_level_that_is_there() {
        let objects = objects();
        let of = |kind: &str| {
            objects.iter().filter(|object| object["kind"] == *kind).collect::<Vec<_>>()
        };
        let levels = of("PriorityLevelConfiguration");
        assert_eq!((levels.len(), of("FlowSchema").len()), (8, 13));
        for schema in of("FlowSchema") {
            let named = &schema["spec"]["priorityLevelConfiguration"]["name"];
            assert!(levels.iter().any(|level| level["metadata"]["name"] == *named), "{schema}");
        }
    }
}
