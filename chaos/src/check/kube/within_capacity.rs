//! The pods that are bound to a node never ask for more than it has.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::node::CPU_MILLIS;
use crate::kube::objects::{PODS, is_finished, list, millis, text, versions};

pub(crate) fn check(history: &History) -> Verdict {
    let mut bound: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for version in versions(history, PODS) {
        let placed = version.object.as_ref().filter(|pod| !is_finished(pod));
        let placed = placed.map(|pod| (text(pod, &["spec", "nodeName"]).to_owned(), asked(pod)));
        let Some((node, asked)) = placed.filter(|(node, _)| !node.is_empty()) else {
            bound.remove(&version.name);
            continue;
        };
        bound.insert(version.name.clone(), (node.clone(), asked));
        let all = bound.values().filter(|(other, _)| *other == node).map(|(_, asked)| asked);
        let all: u64 = all.sum();
        if all > CPU_MILLIS {
            let revision = version.revision;
            return Err(format!(
                "revision {revision} put {all}m of CPU on {node}, which has {CPU_MILLIS}m"
            ));
        }
    }
    Ok(())
}

fn asked(pod: &Value) -> u64 {
    let cpu = |container| millis(text(container, &["resources", "requests", "cpu"]));
    list(pod, &["spec", "containers"]).iter().map(cpu).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::kube::tests::pods;

    #[test]
    fn node_that_is_promised_twice_is_found() {
        let pod = |name, node: &str, cpu: &str, phase: &str| {
            let spec = json!({"nodeName": node,
                "containers": [{"resources": {"requests": {"cpu": cpu}}}]});
            (name, json!({"metadata": {"uid": name}, "spec": spec, "status": {"phase": phase}}))
        };
        let (one, two) = (pod("d/a", "n1", "1", "Running"), pod("d/b", "n1", "300m", "Pending"));
        assert!(check(&pods(&[one.clone(), pod("d/b", "n2", "300m", "Running")])).is_ok());
        assert!(check(&pods(&[one.clone(), ("d/a", Value::Null), two.clone()])).is_ok());
        let finished = pod("d/a", "n1", "1", "Succeeded");
        assert!(check(&pods(&[one.clone(), finished, two.clone()])).is_ok());
        assert!(check(&pods(&[one, two])).is_err());
    }
}
