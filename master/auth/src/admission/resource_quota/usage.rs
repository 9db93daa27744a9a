//! What an object counts for in a quota. Pure.

use std::collections::BTreeSet;

use master_api::quantity::Quantity;
/// Amounts by the names that quotas use (`pods`, `requests.cpu`, `count/deployments.apps`).
pub(super) use master_registry::pod_amounts::{Amounts, add, amounts};
use serde_json::Value;

use crate::json::{items, number, text, texts};

/// Resources of the core group with a short name of their own in quotas.
pub const COUNTED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// What is new, without what stayed the same.
pub(super) fn minus(asked: &Amounts, before: &Amounts) -> Amounts {
    let difference = |(name, amount): (&String, &Quantity)| {
        (name.clone(), *amount - before.get(name).copied().unwrap_or_default())
    };
    asked.iter().map(difference).filter(|(_, amount)| !amount.is_zero()).collect()
}

/// The resources that the amounts of a quota are counted from, as (group, plural).
pub fn counted_resources(quota: &Value) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    for name in amounts(quota, "/spec/hard").into_keys() {
        let (plural, group) = match name.strip_prefix("count/") {
            Some(counted) => counted.split_once('.').unwrap_or((counted, "")),
            None => match name.split('.').next().unwrap_or_default() {
                "services" => ("services", ""),
                _ if name == "requests.storage" => ("persistentvolumeclaims", ""),
                _ if name.contains(".storageclass.storage.k8s.io/") => {
                    ("persistentvolumeclaims", "")
                }
                _ if COUNTED.contains(&name.as_str()) => (name.as_str(), ""),
                _ => ("pods", ""),
            },
        };
        found.insert((group.to_owned(), plural.to_owned()));
    }
    found.into_iter().collect()
}

/// Whether a name in a quota is about this resource.
pub(super) fn relevant(group: &str, resource: &str, name: &str) -> bool {
    if let Some(counted) = name.strip_prefix("count/") {
        return counted == full_name(group, resource);
    }
    if !group.is_empty() {
        return false;
    }
    let is_own = COUNTED.contains(&resource) && name == resource;
    match resource {
        "pods" => {
            is_own
                || matches!(name, "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || (name.starts_with("requests.") && name != "requests.storage")
                || name.starts_with("limits.")
        }
        "persistentvolumeclaims" => {
            is_own || name == "requests.storage" || name.contains(".storageclass.storage.k8s.io/")
        }
        "services" => is_own || matches!(name, "services.nodeports" | "services.loadbalancers"),
        _ => is_own,
    }
}

fn full_name(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// What an object counts for.
pub(super) fn of_object(group: &str, resource: &str, object: &Value) -> Amounts {
    let one = Quantity::from_units(1);
    let mut amounts = Amounts::from([(format!("count/{}", full_name(group, resource)), one)]);
    if !group.is_empty() {
        return amounts;
    }
    match resource {
        "pods" => {
            if matches!(text(object, "/status/phase"), "Succeeded" | "Failed") {
                return amounts;
            }
            amounts.insert("pods".to_owned(), one);
            add(&mut amounts, &of_pod(object));
        }
        "services" => {
            amounts.insert("services".to_owned(), one);
            add(&mut amounts, &of_service(object));
        }
        "persistentvolumeclaims" => {
            amounts.insert(resource.to_owned(), one);
            add(&mut amounts, &of_claim(object));
        }
        _ if COUNTED.contains(&resource) => drop(amounts.insert(resource.to_owned(), one)),
        _ => {}
    }
    amounts
}

fn of_pod(pod: &Value) -> Amounts {
    let mut found = Amounts::new();
    for (field, prefix) in [("requests", "requests."), ("limits", "limits.")] {
        for (name, amount) in pod_total(pod, field) {
            let has_short_name = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-");
            if field == "requests" && has_short_name {
                found.insert(name.clone(), amount);
            }
            found.insert(format!("{prefix}{name}"), amount);
        }
    }
    found
}

/// What a pod asks of its node, by resource.
pub(in crate::admission) fn requests_of(pod: &Value) -> Amounts {
    pod_total(pod, "requests")
}

/// Its containers, and the runtime's overhead.
fn pod_total(pod: &Value, field: &str) -> Amounts {
    let mut total = master_registry::pod_amounts::of_pod(&pod["spec"], field);
    add(&mut total, &amounts(pod, "/spec/overhead"));
    total
}

fn of_service(service: &Value) -> Amounts {
    let kind = text(service, "/spec/type");
    let ports = i64::try_from(items(service, "/spec/ports").len()).unwrap_or(i64::MAX);
    let has_node_ports = kind == "NodePort"
        || (kind == "LoadBalancer"
            && service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool)
                != Some(false));
    let mut found = Amounts::new();
    if has_node_ports {
        found.insert("services.nodeports".to_owned(), Quantity::from_units(ports));
    }
    if kind == "LoadBalancer" {
        found.insert("services.loadbalancers".to_owned(), Quantity::from_units(1));
    }
    found
}

fn of_claim(claim: &Value) -> Amounts {
    let storage = claim
        .pointer("/spec/resources/requests/storage")
        .and_then(Quantity::from_json)
        .unwrap_or_default();
    let mut found = Amounts::from([("requests.storage".to_owned(), storage)]);
    let class = text(claim, "/spec/storageClassName");
    if !class.is_empty() {
        let prefix = format!("{class}.storageclass.storage.k8s.io");
        found.insert(format!("{prefix}/requests.storage"), storage);
        found.insert(format!("{prefix}/persistentvolumeclaims"), Quantity::from_units(1));
    }
    found
}

/// Whether an object is among those that a quota with scopes counts.
pub(super) fn matches_scopes(quota: &Value, resource: &str, object: &Value) -> bool {
    let mut scopes: Vec<(String, String, Vec<String>)> = texts(quota, "/spec/scopes")
        .into_iter()
        .map(|scope| (scope, "Exists".to_owned(), Vec::new()))
        .collect();
    scopes.extend(items(quota, "/spec/scopeSelector/matchExpressions").iter().map(|one| {
        (
            text(one, "/scopeName").to_owned(),
            text(one, "/operator").to_owned(),
            texts(one, "/values"),
        )
    }));
    scopes.iter().all(|(scope, operator, values)| match resource {
        "pods" => in_scope(object, scope, operator, values),
        "persistentvolumeclaims" if scope == "VolumeAttributesClass" => {
            named(text(object, "/spec/volumeAttributesClassName"), operator, values)
        }
        _ => false,
    })
}

fn in_scope(pod: &Value, scope: &str, operator: &str, values: &[String]) -> bool {
    let has_deadline = number(pod, "/spec/activeDeadlineSeconds").is_some();
    match scope {
        "Terminating" => has_deadline,
        "NotTerminating" => !has_deadline,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => named(text(pod, "/spec/priorityClassName"), operator, values),
        "CrossNamespacePodAffinity" => reaches_out(pod),
        _ => false,
    }
}

fn named(class: &str, operator: &str, values: &[String]) -> bool {
    let is_listed = values.iter().any(|value| value == class);
    match operator {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "DoesNotExist" => class.is_empty(),
        _ => !class.is_empty(),
    }
}

/// Whether a pod wants to be near, or far from, pods of other namespaces.
fn reaches_out(pod: &Value) -> bool {
    let names_others = |term: &Value| {
        !items(term, "/namespaces").is_empty()
            || term.pointer("/namespaceSelector").is_some_and(|selector| !selector.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let path = |rule: &str| format!("/spec/affinity/{affinity}/{rule}");
        items(pod, &path("requiredDuringSchedulingIgnoredDuringExecution")).iter().any(names_others)
            || items(pod, &path("preferredDuringSchedulingIgnoredDuringExecution"))
                .iter()
                .any(|term| term.pointer("/podAffinityTerm").is_some_and(names_others))
    })
}

fn is_best_effort(pod: &Value) -> bool {
    master_registry::core::pods::qos_class(pod) == "BestEffort"
}
