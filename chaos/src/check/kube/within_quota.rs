//! No more pods than a quota allows, at any revision, whoever asked for them on whichever master.

use std::collections::BTreeSet;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::{PODS, is_finished, versions};
use crate::kube::workload::{QUOTA_MAX, QUOTA_NAMESPACE};

pub(crate) fn check(history: &History) -> Verdict {
    let mut pods = BTreeSet::new();
    for version in versions(history, PODS) {
        if !version.name.starts_with(&format!("{QUOTA_NAMESPACE}/")) {
            continue;
        }
        match version.object.filter(|pod| !is_finished(pod)) {
            Some(_) => pods.insert(version.name),
            None => pods.remove(&version.name),
        };
        if pods.len() > QUOTA_MAX {
            let (revision, count) = (version.revision, pods.len());
            return Err(format!(
                "at revision {revision} there are {count} pods; {QUOTA_MAX} are allowed"
            ));
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
    fn pod_beyond_the_quota_is_found() {
        let pod = |name| (name, json!({"status": {"phase": "Running"}}));
        let mut story = vec![pod("tight/a"), pod("tight/b"), pod("tight/c"), pod("other/d")];
        assert!(check(&pods(&story)).is_ok());
        story.extend([("tight/a", Value::Null), pod("tight/d")]);
        assert!(check(&pods(&story)).is_ok());
        story.push(pod("tight/e"));
        assert!(check(&pods(&story)).is_err());
    }
}
