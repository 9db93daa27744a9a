//! No more pods than a quota allows, at any revision, whoever asked for them on whichever master.
//!
//! Kubernetes' own programs promise less: a pod that was told to go is charged no longer than its grace lasts, whether
//! its node has stopped it by then or not. Of them only that is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::{PODS, is_finished, text, versions};
use crate::kube::workload::{QUOTA_MAX, QUOTA_NAMESPACE};

/// Objects tell their times in whole seconds, and a pod is charged a moment after it has its own.
const MOMENT_S: i64 = 1;

pub(crate) fn check(history: &History) -> Verdict {
    judge(history, |_, _| true)
}

/// As Kubernetes' own programs charge.
pub(crate) fn check_upstream(history: &History) -> Verdict {
    judge(history, |charged, new| {
        let due_s = |pod: &Value| {
            let grace_s = pod["metadata"]["deletionGracePeriodSeconds"].as_i64()?;
            Some(second(pod, "deletionTimestamp")? + grace_s)
        };
        let now_s = second(new, "creationTimestamp").map_or(i64::MIN, |new| new + MOMENT_S);
        due_s(charged).is_none_or(|due_s| due_s > now_s)
    })
}

/// Looks at every version; which pods are charged when another comes, `is_charged` says.
fn judge(history: &History, is_charged: impl Fn(&Value, &Value) -> bool) -> Verdict {
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    for version in versions(history, PODS) {
        if !version.name.starts_with(&format!("{QUOTA_NAMESPACE}/")) {
            continue;
        }
        let Some(pod) = version.object.filter(|pod| !is_finished(pod)) else {
            pods.remove(&version.name);
            continue;
        };
        let is_new = pods.insert(version.name, pod.clone()).is_none();
        let count = pods.values().filter(|other| is_charged(other, &pod)).count();
        if is_new && count > QUOTA_MAX {
            let revision = version.revision;
            return Err(format!(
                "at revision {revision} there are {count} pods; {QUOTA_MAX} are allowed"
            ));
        }
    }
    Ok(())
}

fn second(pod: &Value, field: &str) -> Option<i64> {
    let at: Timestamp = text(pod, &["metadata", field]).parse().ok()?;
    Some(at.as_second())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::kube::tests::pods;

    #[test]
    fn pod_beyond_the_quota_is_found() {
        let pod = |name| (name, json!({"status": {"phase": "Running"}}));
        let mut story = vec![pod("tight/a"), pod("tight/b"), pod("tight/c"), pod("other/d")];
        assert!(check(&pods(&story)).is_ok());
        story.extend([("tight/a", Value::Null), pod("tight/d")]);
        assert!(check(&pods(&story)).is_ok());
        story.push(pod("tight/e"));
        assert!(check(&pods(&story)).is_err());
    }
    #[test]
    fn pod_whose_grace_is_over_is_charged_by_us_and_not_upstream() {
        let pod = |name, created: &str| {
            let metadata = json!({"creationTimestamp": format!("2026-11-27T14:18:{created}Z")});
            (name, json!({ "metadata": metadata }))
        };
        let going = |name| {
            let metadata = json!({"creationTimestamp": "2026-11-27T14:18:48Z",
                "deletionTimestamp": "2026-11-27T14:18:52Z", "deletionGracePeriodSeconds": 1});
            (name, json!({ "metadata": metadata }))
        };
        let run = |last| {
            let story = [going("tight/a"), pod("tight/b", "40"), pod("tight/c", "41"), last];
            (check(&pods(&story)).is_ok(), check_upstream(&pods(&story)).is_ok())
        };
        assert_eq!(run(pod("tight/d", "53")), (false, true));
        assert_eq!(run(pod("tight/d", "51")), (false, false), "its grace lasts");
    }
}
