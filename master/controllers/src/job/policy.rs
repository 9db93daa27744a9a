//! What a Job's policies make of pods that failed, and of indexes that succeeded. Pure.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule,
};
use master_client::pod::{ContainerStatus, Pod};

use super::indexes::Indexes;
use super::look::Look;
use crate::owner::name_of;

/// What the first rule that matches a failed pod says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts as a failure, as without a rule.
    Counts,
    /// It is made anew and forgotten.
    Ignored,
    /// Its index fails, whatever failures that may still have.
    FailsIndex,
    /// The whole job fails; why.
    FailsJob(String),
}

/// Whether a pod is made anew only once it has failed, and not when its deletion begins.
pub(super) fn waits_for_the_end(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Judges a failed pod.
pub(super) fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let Some(what) = matching(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignored,
            "FailIndex" => Verdict::FailsIndex,
            "FailJob" => Verdict::FailsJob(format!("{what} matching FailJob rule at index {at}")),
            _ => Verdict::Counts,
        };
    }
    Verdict::Counts
}

/// What of the pod the rule is about, in upstream's words.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = name_of(&pod.metadata);
    if let Some(codes) = &rule.on_exit_codes {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let mut all = lists.into_iter().flatten().flatten();
        let (container, code) = all.find_map(|container| exit(container, codes))?;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let patterns = rule.on_pod_conditions.iter().flatten();
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| {
        patterns.clone().any(|pattern| {
            let wanted = pattern.status.as_deref().unwrap_or("True");
            pattern.type_ == condition.type_ && wanted == condition.status
        })
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", found.type_))
}

fn exit<'a>(
    container: &'a ContainerStatus,
    codes: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let is_meant = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    let is_listed = codes.values.contains(&code);
    let is_match = match codes.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        _ => false,
    };
    (code != 0 && is_meant && is_match).then_some((&*container.name, code))
}

/// Why the job fails by its policy, if a pod makes it fail.
pub(super) fn failure(look: &Look<'_>) -> Option<String> {
    let failed = |pod: &&Arc<Pod>| look.has_failed(pod);
    look.pods.iter().filter(failed).find_map(|pod| match judge(look.spec, pod) {
        Verdict::FailsJob(why) => Some(why),
        _ => None,
    })
}

/// Which rule says that enough indexes have succeeded, if one does.
pub(super) fn success(spec: &JobSpec, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let completions = spec.completions.unwrap_or(0);
    let mut rules = spec.success_policy.iter().flat_map(|policy| &policy.rules).enumerate();
    let (at, _) = rules.find(|(_, rule)| is_met(rule, succeeded, completions))?;
    Some(format!("Matched rules at index {at}"))
}

fn is_met(rule: &SuccessPolicyRule, succeeded: &Indexes, completions: i32) -> bool {
    let enough = |found: i64| rule.succeeded_count.is_some_and(|count| found >= i64::from(count));
    let Some(wanted) = &rule.succeeded_indexes else { return enough(succeeded.count()) };
    let wanted = Indexes::parse(wanted, completions);
    let found = wanted.shared(succeeded);
    !wanted.is_empty() && (found == wanted.count() || enough(found))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::object;

    fn spec(rest: Value) -> JobSpec {
        let mut spec = json!({"template": {"spec": {"containers": []}}});
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn first_rule_that_matches_a_failed_pod_decides() {
        let rules = spec(json!({"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [5, 6]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [8]}},
            {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [7]}},
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        ]}}));
        let check = |container: &str, code: i32, disrupted: &str, expected: Verdict| {
            let pod: Pod = object(json!({
                "metadata": {"name": "p", "namespace": "ns"},
                "status": {
                    "phase": "Failed",
                    "conditions": [{"type": "DisruptionTarget", "status": disrupted}],
                    "containerStatuses": [{
                        "name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                        "state": {"terminated": {"exitCode": code}},
                    }],
                },
            }));
            assert_eq!(judge(&rules, &pod), expected, "{container} {code} {disrupted}");
        };
        check("main", 5, "True", Verdict::Ignored);
        let why =
            "Container main for pod ns/p failed with exit code 5 matching FailJob rule at index 1";
        check("main", 5, "False", Verdict::FailsJob(why.to_owned()));
        check("side", 5, "False", Verdict::Counts);
        check("side", 7, "False", Verdict::Ignored);
        check("side", 8, "False", Verdict::FailsIndex);
        check("main", 0, "False", Verdict::Counts);
    }

    #[test]
    fn success_is_what_a_rule_says() {
        let check = |rule: Value, succeeded: &str, expected: bool| {
            let spec = spec(json!({"completions": 9, "successPolicy": {"rules": [rule]}}));
            let succeeded = Indexes::parse(succeeded, 9);
            assert_eq!(success(&spec, &succeeded).is_some(), expected, "{spec:?} {succeeded}");
        };
        check(json!({"succeededIndexes": "0,2-3"}), "0,2", false);
        check(json!({"succeededIndexes": "0,2-3"}), "0,2-4", true);
        check(json!({"succeededIndexes": "0,2-3", "succeededCount": 2}), "2-3", true);
        check(json!({"succeededIndexes": "0,2-3", "succeededCount": 2}), "1,3", false);
        check(json!({"succeededCount": 2}), "4,7", true);
        check(json!({"succeededCount": 2}), "4", false);
        check(json!({"succeededCount": 0}), "", false);
        check(json!({"succeededIndexes": "0-3"}), "0-8", true);
    }
}
