//! A pod is bound to one node, and never to another: neither by two schedulers, nor by two terms.

use std::collections::BTreeMap;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::{PODS, text, versions};

pub(crate) fn check(history: &History) -> Verdict {
    let mut bound: BTreeMap<String, String> = BTreeMap::new();
    for version in versions(history, PODS) {
        let Some(pod) = &version.object else { continue };
        let (uid, node) = (text(pod, &["metadata", "uid"]), text(pod, &["spec", "nodeName"]));
        let (name, revision) = (&version.name, version.revision);
        match bound.get(uid) {
            Some(first) if first != node => {
                return Err(format!(
                    "pod {name} was bound to {first}, and at revision {revision} to {node:?}"
                ));
            }
            None if !node.is_empty() => drop(bound.insert(uid.to_owned(), node.to_owned())),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::kube::tests::pods;

    #[test]
    fn second_node_of_a_pod_is_found() {
        let pod = |uid: &str, node: &str| {
            ("default/a", json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}}))
        };
        let run = |versions: &[(&str, Value)]| check(&pods(versions)).is_ok();
        assert!(run(&[pod("1", ""), pod("1", "n1"), pod("1", "n1"), pod("2", "n2")]));
        assert!(!run(&[pod("1", "n1"), pod("1", "n2")]));
        assert!(!run(&[pod("1", "n1"), pod("1", "")]));
    }
}
