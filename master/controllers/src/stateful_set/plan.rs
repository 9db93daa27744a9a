//! Which pod of a StatefulSet comes or goes next. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

use super::{HASH, Pods};
use crate::owner::{is_terminating, label, name_of};
use crate::pods;
use master_client::pod::Pod;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create { ordinal: i32, revision: String },
    Delete(Arc<Pod>),
}

/// The number at the end of a pod's name.
fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let rest = name_of(&pod.metadata).strip_prefix(name_of(&set.metadata))?;
    rest.strip_prefix('-')?.parse().ok()
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// `update` is the revision of the set's template.
pub(super) fn plan(
    set: &StatefulSet,
    update: &str,
    pods: &Pods,
    now: Timestamp,
) -> (StatefulSetStatus, Vec<Step>) {
    let spec = set.spec.clone().unwrap_or_default();
    let by_ordinal: BTreeMap<i32, Arc<Pod>> =
        pods.iter().filter_map(|pod| Some((ordinal_of(set, pod)?, pod.clone()))).collect();
    let min_ready_s = spec.min_ready_seconds.unwrap_or(0);
    let status = observed(set, update, &by_ordinal, min_ready_s, now);
    let current = status.current_revision.clone().unwrap_or_else(|| update.to_owned());
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let end = start + spec.replicas.unwrap_or(1);
    let one_by_one = spec.pod_management_policy.as_deref() != Some("Parallel");
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
    let serves = |pod: &Arc<Pod>| {
        !is_terminating(&pod.metadata) && pods::is_available(pod, min_ready_s, now)
    };
    let mut steps = Vec::new();
    for ordinal in start..end {
        let pod = by_ordinal.get(&ordinal);
        match pod {
            None => {
                let is_new = ordinal >= partition;
                let revision = if is_new { update } else { &current }.to_owned();
                steps.push(Step::Create { ordinal, revision });
            }
            Some(pod) if is_terminating(&pod.metadata) => {}
            Some(pod) if pods::is_terminal(pod) => steps.push(Step::Delete(pod.clone())),
            Some(_) => {}
        }
        if one_by_one && !pod.is_some_and(serves) {
            return (status, steps);
        }
    }
    // Those with numbers too high go, the highest first. Of those that do not serve, only the lowest goes.
    let condemned = || by_ordinal.iter().filter(|(n, _)| !(start..end).contains(*n));
    let unfit = condemned().find(|(_, pod)| !serves(pod)).map(|(ordinal, _)| ordinal);
    for (ordinal, pod) in condemned().rev() {
        if !is_terminating(&pod.metadata) {
            if one_by_one && !serves(pod) && unfit != Some(ordinal) {
                return (status, steps);
            }
            steps.push(Step::Delete(pod.clone()));
        }
        if one_by_one {
            return (status, steps);
        }
    }
    if strategy.type_.as_deref() == Some("OnDelete") {
        return (status, steps);
    }
    // A new template: from the highest number down, each when the one before serves again.
    for ordinal in (start.max(partition)..end).rev() {
        let Some(pod) = by_ordinal.get(&ordinal) else { break };
        if label(&pod.metadata, HASH) != Some(update) && !is_terminating(&pod.metadata) {
            steps.push(Step::Delete(pod.clone()));
            break;
        }
        if !serves(pod) {
            break;
        }
    }
    (status, steps)
}

fn observed(
    set: &StatefulSet,
    update: &str,
    pods: &BTreeMap<i32, Arc<Pod>>,
    min_ready_s: i32,
    now: Timestamp,
) -> StatefulSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let count = |condition: &dyn Fn(&Arc<Pod>) -> bool| {
        number(pods.values().filter(|pod| condition(pod)).count())
    };
    let is_of = |pod: &Arc<Pod>, revision: &str| {
        !is_terminating(&pod.metadata) && label(&pod.metadata, HASH) == Some(revision)
    };
    let nonzero = |number: i32| (number != 0).then_some(number);
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let current = before.current_revision.filter(|name| !name.is_empty());
    let updated = count(&|pod| is_of(pod, update));
    let ready = count(&|pod| pods::is_ready(pod));
    let is_complete = updated == wanted && ready == wanted && number(pods.len()) == wanted;
    let current = match current {
        Some(current) if !is_complete => current,
        Some(_) | None => update.to_owned(),
    };
    StatefulSetStatus {
        available_replicas: Some(count(&|pod| pods::is_available(pod, min_ready_s, now))),
        collision_count: before.collision_count,
        conditions: before.conditions,
        current_replicas: nonzero(count(&|pod| is_of(pod, &current))),
        current_revision: Some(current),
        observed_generation: set.metadata.generation,
        ready_replicas: nonzero(ready),
        replicas: number(pods.len()),
        update_revision: Some(update.to_owned()),
        updated_replicas: nonzero(updated),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{at, object, pods};

    /// Pods by number: `0=new 1=old! 2=new-`.
    fn check(policy: &str, replicas: i32, partition: i32, sketch: &str, expected: &str) {
        let set: StatefulSet = object(json!({"metadata": {"name": "db"}, "spec": {
            "replicas": replicas, "podManagementPolicy": policy, "selector": {}, "serviceName": "db",
            "template": {}, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
            "status": {"replicas": 0, "currentRevision": "old"}}));
        let named = |pod: Arc<Pod>| {
            let mut pod = (*pod).clone();
            let labels = pod.metadata.labels.get_or_insert_default();
            let hash = labels.remove("pod-template-hash").unwrap_or_default();
            labels.insert(HASH.to_owned(), hash);
            pod.metadata.name = pod.metadata.name.map(|name| format!("db-{name}"));
            Arc::new(pod)
        };
        let pods: Vec<Arc<Pod>> = pods(sketch).into_iter().map(named).collect();
        let (_, steps) = plan(&set, "new", &pods, at(1_000_000));
        let words = steps.into_iter().map(|step| match step {
            Step::Create { ordinal, revision } => format!("+{ordinal}={revision}"),
            Step::Delete(pod) => format!("-{}", ordinal_of(&set, &pod).unwrap()),
        });
        let words: Vec<String> = words.collect();
        assert_eq!(words.join(" "), expected, "{policy}, {replicas}, {partition}, {sketch}");
    }

    #[test]
    fn pods_come_and_go_one_after_another() {
        check("OrderedReady", 3, 0, "", "+0=new");
        check("OrderedReady", 3, 0, "0=new!", "");
        check("OrderedReady", 3, 0, "0=new", "+1=new");
        check("OrderedReady", 3, 0, "0=new 1:failed=new", "-1");
        check("OrderedReady", 1, 0, "0=new 1=new 2=new", "-2");
        check("OrderedReady", 1, 0, "0=new 1=new 2=new-", "");
        check("OrderedReady", 0, 0, "0=new! 1=new! 2=new!", "");
        check("OrderedReady", 0, 0, "0=new! 1=new! 2=new", "-2");
        check("OrderedReady", 0, 0, "0=new 1=new 2=new!", "-2");
        check("Parallel", 0, 0, "0=new! 1=new!", "-1 -0");
        check("Parallel", 3, 0, "", "+0=new +1=new +2=new");
        check("Parallel", 1, 0, "0=new 1=new 2=new", "-2 -1");
    }

    #[test]
    fn update_goes_from_the_highest_number_down_to_the_partition() {
        check("OrderedReady", 3, 0, "0=old 1=old 2=old", "-2");
        check("OrderedReady", 3, 0, "0=old 1=old 2=new!", "");
        check("OrderedReady", 3, 0, "0=old 1=old 2=new", "-1");
        check("OrderedReady", 3, 2, "0=old 1=old 2=new", "");
        check("OrderedReady", 2, 1, "", "+0=old");
        check("OrderedReady", 1, 0, "0:pending=old", "");
        // Whoever does not serve is waited for, whatever its revision: as upstream, somebody must look at it.
        check("OrderedReady", 1, 0, "0=old!", "");
        check("OrderedReady", 3, 0, "0=old 1=old! 2=old", "");
        check("OrderedReady", 1, 0, "0=old:failed", "-0");
    }
}
