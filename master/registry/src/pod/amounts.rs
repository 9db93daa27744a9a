//! What a pod says as a whole of what it wants (`spec.resources`), beside what its containers say. Pure.

use std::collections::BTreeMap;

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use super::containers::{self, STANDARD};
use crate::check::Findings;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts at a place of an object.
pub fn amounts(holder: &Value, pointer: &str) -> Amounts {
    let entries = holder.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount)?)))
        .collect()
}

/// Adds amounts to a total.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).copied().unwrap_or_default() + *amount;
        total.insert(name.clone(), sum);
    }
}

/// Raises a total where it is less.
fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let most = total.get(name).copied().unwrap_or_default().max(*amount);
        total.insert(name.clone(), most);
    }
}

/// Whether a pod as a whole may say how much of it it wants.
pub fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether a pod says as a whole how much it wants.
pub fn says_itself(spec: &Value) -> bool {
    ["requests", "limits"].iter().any(|field| {
        amounts(spec, &format!("/resources/{field}")).keys().any(|name| is_for_pods(name))
    })
}

/// What a pod's containers ask for (`requests`, `limits`): what runs at once, at most. Sidecars run with all that starts
/// after them.
pub fn of_containers(spec: &Value, field: &str) -> Amounts {
    let pointer = format!("/resources/{field}");
    let (mut running, mut sidecars, mut starting) =
        (Amounts::new(), Amounts::new(), Amounts::new());
    for container in meta::items(spec, &["containers"]) {
        add(&mut running, &amounts(container, &pointer));
    }
    for container in meta::items(spec, &["initContainers"]) {
        let own = amounts(container, &pointer);
        let mut at_once = sidecars.clone();
        add(&mut at_once, &own);
        if meta::text(container, &["restartPolicy"]) == "Always" {
            add(&mut running, &own);
            sidecars = at_once.clone();
        }
        raise(&mut starting, &at_once);
    }
    raise(&mut running, &starting);
    running
}

/// What a pod asks for: its containers, or, where it says so as a whole, that. Never less is requested than by the
/// containers.
pub fn of_pod(spec: &Value, field: &str) -> Amounts {
    let mut total = of_containers(spec, field);
    for (name, amount) in amounts(spec, &format!("/resources/{field}")) {
        if is_for_pods(&name) {
            let least = total.get(&name).copied().filter(|_| field == "requests");
            let amount = least.map_or(amount, |least| least.max(amount));
            total.insert(name, amount);
        }
    }
    total
}

/// Fills in what a pod as a whole does not say where it says anything: huge pages as its containers limit them, requests
/// as its containers make them, or else its limits.
pub(crate) fn default(spec: &mut Map<String, Value>) {
    let whole = Value::Object(std::mem::take(spec));
    let own = |field: &str| amounts(&whole, &format!("/resources/{field}"));
    let (mut requests, mut limits) = (own("requests"), own("limits"));
    if !requests.is_empty() || !limits.is_empty() {
        for (name, amount) in of_containers(&whole, "limits") {
            if name.starts_with("hugepages-") && !requests.contains_key(&name) {
                limits.entry(name).or_insert(amount);
            }
        }
    }
    if !limits.is_empty() {
        let asked = of_containers(&whole, "requests").into_iter();
        for (name, amount) in asked.filter(|(name, _)| matches!(&**name, "cpu" | "memory")) {
            requests.entry(name).or_insert(amount);
        }
        for (name, amount) in limits.iter().filter(|(name, _)| is_for_pods(name)) {
            requests.entry(name.clone()).or_insert(*amount);
        }
    }
    if let Value::Object(fields) = whole {
        *spec = fields;
    }
    let Some(Value::Object(resources)) = spec.get_mut("resources") else { return };
    for (field, amounts) in [("requests", requests), ("limits", limits)] {
        let said = resources.get(field).and_then(Value::as_object).map_or(0, Map::len);
        if amounts.len() > said {
            let shown = amounts.into_iter().map(|(name, amount)| (name, amount.to_string().into()));
            resources.insert(field.to_owned(), Value::Object(shown.collect()));
        }
    }
}

/// What a pod says as a whole: amounts that pods have, none of them negative, with room for its containers.
pub(crate) fn validate(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let Some(resources) = meta::at(spec, &["resources"]) else { return };
    let path = path.child("resources");
    if meta::text(spec, &["os", "name"]) == "windows" {
        errors.push(FieldError::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if meta::at(resources, &["claims"]).is_some() {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(path.child("claims"), detail));
    }
    containers::amounts(resources, &path, name, errors);
    let own = |field: &str| amounts(spec, &format!("/resources/{field}"));
    let (requests, limits) = (own("requests"), own("limits"));
    for (name, asked) in of_containers(spec, "requests") {
        if let Some(own) = requests.get(&name).filter(|own| **own < asked) {
            let detail =
                format!("must be greater than or equal to aggregate container requests of {asked}");
            let path = path.child("requests").key(&name);
            errors.push(FieldError::invalid(path, own.to_string(), detail));
        }
    }
    for (name, limit) in of_containers(spec, "limits") {
        let own = limits.get(&name).filter(|_| name.starts_with("hugepages-"));
        if let Some(own) = own.filter(|own| **own < limit) {
            let detail =
                format!("must be greater than or equal to aggregate container limits of {limit}");
            let path = path.child("limits").key(&name);
            errors.push(FieldError::invalid(path, own.to_string(), detail));
        }
    }
    for (at, container) in meta::items(spec, &["containers"]).iter().enumerate() {
        for (name, limit) in amounts(container, "/resources/limits") {
            if let Some(own) = limits.get(&name).filter(|own| limit > **own) {
                let path = path.child("containers").index(at).key(&name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {own}");
                errors.push(FieldError::invalid(path, limit.to_string(), detail));
            }
        }
    }
}

/// What is wrong with the name of a resource that pods have as a whole.
fn name(name: &str, path: &FieldPath) -> Findings {
    let problems = names::qualified_name(name).into_iter();
    let mut errors: Findings =
        problems.map(|problem| FieldError::invalid(path.clone(), name, problem)).collect();
    let is_known = name.contains('/') || STANDARD.contains(&name) || is_for_pods(name);
    if errors.is_empty() && !is_known {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path.clone(), name, detail));
    }
    if errors.is_empty() && !is_for_pods(name) {
        errors.push(FieldError::not_supported(
            path.clone(),
            name,
            &["cpu", "hugepages-", "memory"],
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(containers: &[&str], init: &[(&str, &str)], own: Value) -> Value {
        let container = |cpu: &str, policy: &str| json!({ "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let init: Vec<Value> = init.iter().map(|(cpu, policy)| container(cpu, policy)).collect();
        let containers: Vec<Value> = containers.iter().map(|cpu| container(cpu, "")).collect();
        json!({ "containers": containers, "initContainers": init, "resources": own })
    }

    #[test]
    fn a_pod_asks_for_what_runs_at_once() {
        let check = |containers: &[&str], init: &[(&str, &str)], own: Value, expected: &str| {
            let spec = spec(containers, init, json!({ "requests": own }));
            assert_eq!(of_pod(&spec, "requests")["cpu"], expected.parse().unwrap(), "{spec}");
        };
        check(&["1", "2"], &[], json!({}), "3");
        check(&["1"], &[("5", ""), ("2", "")], json!({}), "5");
        check(&["1"], &[("2", "Always")], json!({}), "3");
        check(&["1"], &[("2", "Always"), ("5", "")], json!({}), "7");
        check(&["1"], &[("5", ""), ("7", "Always")], json!({}), "8");
        check(&["1"], &[("2", "Always")], json!({ "cpu": "9" }), "9");
        check(&["64"], &[], json!({ "cpu": "0" }), "64");
        check(&["1"], &[], json!({ "example.com/x": "9" }), "1");
    }

    #[test]
    fn a_pod_that_says_only_part_gets_the_rest() {
        let check = |containers: &[&str], own: Value, expected: Value| {
            let mut spec = spec(containers, &[], own);
            default(spec.as_object_mut().unwrap());
            assert_eq!(spec["resources"], expected, "{spec}");
        };
        check(&["1"], json!({}), json!({}));
        check(&["1"], json!({ "requests": { "cpu": "2" } }), json!({ "requests": { "cpu": "2" } }));
        check(
            &["1"],
            json!({ "limits": { "cpu": "64", "memory": "1Gi" } }),
            json!({ "limits": { "cpu": "64", "memory": "1Gi" }, "requests": { "cpu": "1", "memory": "1Gi" } }),
        );
    }

    #[test]
    fn what_a_pod_says_has_room_for_its_containers() {
        let check = |containers: &[&str], own: Value, expected: &[&str]| {
            let mut errors = Findings::default();
            validate(&spec(containers, &[], own), &FieldPath::new("spec"), &mut errors);
            let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected);
        };
        check(&["1"], json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2" } }), &[]);
        check(
            &["64"],
            json!({ "requests": { "cpu": "0" } }),
            &[
                r#"spec.resources.requests[cpu]: Invalid value: "0": must be greater than or equal to aggregate container requests of 64"#,
            ],
        );
        check(
            &[],
            json!({ "requests": { "cpu": "-100" } }),
            &[
                r#"spec.resources.requests[cpu]: Invalid value: "-100": must be greater than or equal to 0"#,
            ],
        );
        check(
            &[],
            json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } }),
            &[
                r#"spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        );
        check(
            &[],
            json!({ "requests": { "example.com/x": "1" }, "limits": { "example.com/x": "1" } }),
            &[
                r#"spec.resources.limits[example.com/x]: Unsupported value: "example.com/x": supported values: "cpu", "hugepages-", "memory""#,
                r#"spec.resources.requests[example.com/x]: Unsupported value: "example.com/x": supported values: "cpu", "hugepages-", "memory""#,
            ],
        );
    }
}
