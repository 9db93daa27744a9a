//! What a pod asks for as a whole: its containers together, or what it says itself. Pure.

use std::collections::BTreeMap;

use master_api::quantity::Quantity;
use serde_json::Value;

use crate::json::{items, text};

/// Amounts by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// The amounts at a place of an object.
pub(super) fn amounts(holder: &Value, pointer: &str) -> Amounts {
    let entries = holder.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount)?)))
        .collect()
}

/// Adds amounts to a total.
pub(super) fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).copied().unwrap_or_default() + *amount;
        total.insert(name.clone(), sum);
    }
}

/// Whether a pod says as a whole how much it wants.
pub(super) fn says_itself(pod: &Value) -> bool {
    ["requests", "limits"].iter().any(|field| {
        amounts(pod, &format!("/spec/resources/{field}")).keys().any(|name| is_for_pods(name))
    })
}

fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What a pod asks for (`requests`, `limits`): what runs at once, at most. Sidecars run with all that starts after them.
/// What the pod says as a whole counts instead.
pub(super) fn total(pod: &Value, field: &str) -> Amounts {
    let pointer = format!("/resources/{field}");
    let (mut running, mut sidecars, mut starting) =
        (Amounts::new(), Amounts::new(), Amounts::new());
    for container in items(pod, "/spec/containers") {
        add(&mut running, &amounts(container, &pointer));
    }
    for container in items(pod, "/spec/initContainers") {
        let own = amounts(container, &pointer);
        let mut at_once = sidecars.clone();
        add(&mut at_once, &own);
        if text(container, "/restartPolicy") == "Always" {
            add(&mut running, &own);
            sidecars = at_once.clone();
        }
        raise(&mut starting, &at_once);
    }
    raise(&mut running, &starting);
    for (name, amount) in amounts(pod, &format!("/spec/resources/{field}")) {
        if is_for_pods(&name) {
            running.insert(name, amount);
        }
    }
    running
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let most = total.get(name).copied().unwrap_or_default().max(*amount);
        total.insert(name.clone(), most);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_what_runs_at_once() {
        let container = |cpu: &str, policy: &str| json!({ "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
        let check = |containers: &[&str], init: &[(&str, &str)], own: Value, expected: &str| {
            let init: Vec<Value> =
                init.iter().map(|(cpu, policy)| container(cpu, policy)).collect();
            let pod = json!({ "spec": {
                "containers": containers.iter().map(|cpu| container(cpu, "")).collect::<Vec<_>>(),
                "initContainers": init, "resources": { "requests": own } } });
            let cpu = total(&pod, "requests")["cpu"];
            assert_eq!(cpu, expected.parse().unwrap(), "{pod}");
        };
        check(&["1", "2"], &[], json!({}), "3");
        check(&["1"], &[("5", ""), ("2", "")], json!({}), "5");
        check(&["1"], &[("2", "Always")], json!({}), "3");
        check(&["1"], &[("2", "Always"), ("5", "")], json!({}), "7");
        check(&["1"], &[("5", ""), ("7", "Always")], json!({}), "8");
        check(&["1"], &[("2", "Always")], json!({ "cpu": "9" }), "9");
        check(&["1"], &[], json!({ "example.com/x": "9" }), "1");
    }
}
