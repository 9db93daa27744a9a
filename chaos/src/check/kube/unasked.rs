//! Nothing is deleted because masters were lost: pods of a deployment that nobody changes go only where they are
//! evicted, and never without being told.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::{PODS, list, text, versions};

/// The deployment that nobody changes.
const STEADY: &str = "steady";

pub(crate) fn check(history: &History) -> Verdict {
    // Whether each was told to go.
    let mut steady: BTreeMap<String, bool> = BTreeMap::new();
    for version in versions(history, PODS) {
        let (name, revision) = (&version.name, version.revision);
        let Some(pod) = &version.object else {
            if steady.remove(name) == Some(false) {
                return Err(format!("revision {revision} removes pod {name}, which was not told"));
            }
            continue;
        };
        if text(pod, &["metadata", "labels", "app"]) != STEADY {
            continue;
        }
        let is_going = !pod["metadata"]["deletionTimestamp"].is_null();
        let was_going = steady.insert(name.clone(), is_going).unwrap_or(false);
        if is_going && !was_going && !is_evicted(pod) {
            return Err(format!("revision {revision} deletes pod {name}, which nobody asked for"));
        }
    }
    Ok(())
}

fn is_evicted(pod: &Value) -> bool {
    let mut conditions = list(pod, &["status", "conditions"]).iter();
    conditions.any(|condition| text(condition, &["type"]) == "DisruptionTarget")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::kube::tests::pods;

    #[test]
    fn pod_that_goes_without_an_eviction_is_found() {
        let pod = |is_going: bool, is_evicted: bool| {
            let condition = if is_evicted { "DisruptionTarget" } else { "Ready" };
            let mut pod = json!({"metadata": {"labels": {"app": "steady"}},
                "status": {"conditions": [{"type": condition}]}});
            if is_going {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-27T00:00:00Z");
            }
            ("default/a", pod)
        };
        let gone = ("default/a", Value::Null);
        let run = |versions: &[(&str, Value)]| check(&pods(versions)).is_ok();
        assert!(run(&[pod(false, false), pod(false, true), pod(true, true), gone.clone()]));
        assert!(!run(&[pod(false, false), pod(true, false)]));
        assert!(!run(&[pod(false, true), gone]));
    }
}
