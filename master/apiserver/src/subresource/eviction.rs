//! Eviction: a deletion that disruption budgets may refuse.
//!
//! Only what is ready counts for a budget: a pod that is not may go while enough others are, or always, if the budget
//! says so. Whoever goes by such a finding goes in the version that was looked at.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use master_api::selector::LabelSelector;
use master_api::status::{self, ApiError, Cause};
use master_api::{meta, time};
use serde_json::{Value, json};

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::delete::{self, DeleteOptions};
use crate::rest::ownership::Ownership;
use crate::rest::{Target, admit_below, answer_value, body};
use crate::server::Server;

const POLICY: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";
const SCHEMA: &str = "io.k8s.api.policy.v1.Eviction";
/// As clients of before v1.22 send it.
const OLD_VERSION: &str = "policy/v1beta1";
/// How often, and how soon, a pod that changed meanwhile is looked at again.
const LOOKS_MAX: u32 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many pods of a budget may be on their way out.
const DISRUPTED_MAX: usize = 2_000;
/// When to ask again for a budget that is still being counted.
const COUNTED_WITHIN_S: u32 = 10;

/// What stands between a pod and its end.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// Nothing.
    Free,
    /// Nothing, as long as it is as it was seen: it serves nobody yet. Looked at again if it has changed.
    FreeWhile(String),
    /// It is not ready, and its budget, of this name, does without it; as long as it is as it was seen.
    Spared { version: String, budget: String },
    /// This budget has to give one disruption for it.
    Costs(Arc<Value>),
    /// Several budgets.
    Unclear,
}

/// Answers with a Status.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let eviction = body::other_of(call, SCHEMA, "policy/v1", OLD_VERSION, "Eviction").await?;
    if meta::name(&eviction) != target.name {
        let message = "name in URL does not match name in Eviction object";
        return Err(ApiError::bad_request(message));
    }
    let mut options = DeleteOptions { dry_run: call.is_dry_run(), ..DeleteOptions::default() };
    delete::from_body(&mut options, &eviction["deleteOptions"])?;
    admit_below(server, call, target, "eviction", &eviction).await?;
    for look in 0.. {
        let pod = server.fresh(target).await?.ok_or_else(|| target.not_found())?;
        let verdict = verdict(pod.value(), &budgets(server, target, pod.value()));
        let asked = options.resource_version.is_some();
        match (go(server, call, target, &options, &verdict).await, verdict) {
            (Err(ApiError::Conflict { .. }), Verdict::FreeWhile(_))
                if !asked && look < LOOKS_MAX =>
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            (Err(ApiError::Conflict { .. }), Verdict::Spared { budget, .. }) if !asked => {
                return Err(still_counted(&budget));
            }
            (outcome, _) => {
                outcome?;
                break;
            }
        }
    }
    answer_value(call, StatusCode::CREATED, &status::done(StatusCode::CREATED.as_u16()))
}

/// Does what the verdict lets happen.
async fn go(
    server: &Server,
    call: &mut Call,
    target: &Target,
    options: &DeleteOptions,
    verdict: &Verdict,
) -> Result<(), ApiError> {
    let mut options = options.clone();
    match verdict {
        Verdict::Free => {}
        Verdict::FreeWhile(version) => {
            options.resource_version.get_or_insert_with(|| version.clone());
        }
        // Spared is the pod that was looked at, whichever the client saw.
        Verdict::Spared { version, .. } => options.resource_version = Some(version.clone()),
        Verdict::Costs(budget) if options.dry_run => {
            disrupted(budget, &target.name, &time::seconds(server.now())).map(drop)?;
        }
        Verdict::Costs(budget) => take_from_budget(server, call, target, budget).await?,
        Verdict::Unclear => {
            return Err(ApiError::Untyped(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".into(),
            ));
        }
    }
    if !options.dry_run {
        mark(server, call, target, &mut options).await?;
    }
    delete::delete(server, call, target, &options).await?.said(&mut call.warnings);
    Ok(())
}

/// Writes into the pod why it goes: a Job's failure policy may look for it.
async fn mark(
    server: &Server,
    call: &mut Call,
    target: &Target,
    options: &mut DeleteOptions,
) -> Result<(), ApiError> {
    let now = time::seconds(server.now());
    let asked = options.clone();
    let produce = |old: &Value| {
        delete::preconditions(target, old, &asked)?;
        Ok(marked(old, &now))
    };
    let wanted = Change {
        subresource: "status",
        rules: Rules::Status,
        ownership: Ownership::Kept,
        produce: &produce,
    };
    let entry = change(server, call, target, &wanted).await?;
    if options.resource_version.is_some() {
        options.resource_version =
            Some(meta::text(entry.value(), &["metadata", "resourceVersion"]).to_owned());
    }
    Ok(())
}

/// The pod with its condition `DisruptionTarget`.
fn marked(pod: &Value, now: &str) -> Value {
    const KIND: &str = "DisruptionTarget";
    let mut conditions = meta::items(pod, &["status", "conditions"]).to_vec();
    let before = conditions.iter().find(|found| found["type"] == KIND && found["status"] == "True");
    let since = before.map_or_else(|| now.into(), |found| found["lastTransitionTime"].clone());
    conditions.retain(|found| found["type"] != KIND);
    conditions.push(json!({
        "type": KIND, "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": since, "lastProbeTime": null,
    }));
    let mut pod = pod.clone();
    meta::object_mut(&mut pod, &["status"]).insert("conditions".into(), conditions.into());
    pod
}

/// The budgets that a pod counts for.
fn budgets(server: &Server, target: &Target, pod: &Value) -> Vec<Arc<Value>> {
    let namespace = Some(&*target.namespace);
    let mut all = master_api::access::Reader::list(&*server.cacher, POLICY, BUDGETS, namespace);
    all.retain(|budget| {
        let selector = &budget["spec"]["selector"];
        selector.is_object()
            && LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches_object(pod))
    });
    all
}

/// What the budgets of a pod say to its eviction.
fn verdict(pod: &Value, budgets: &[Arc<Value>]) -> Verdict {
    let phase = meta::text(pod, &["status", "phase"]);
    let version = meta::resource_version(pod).to_owned();
    if matches!(phase, "Succeeded" | "Failed") || meta::is_terminating(pod) {
        return Verdict::Free;
    }
    if phase == "Pending" {
        return Verdict::FreeWhile(version);
    }
    match budgets {
        [] => Verdict::Free,
        [budget] if !is_ready(pod) && does_without(budget) => {
            Verdict::Spared { version, budget: meta::name(budget).to_owned() }
        }
        [budget] => Verdict::Costs(budget.clone()),
        _ => Verdict::Unclear,
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = meta::items(pod, &["status", "conditions"]).iter();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a budget lets pods go that are not ready.
fn does_without(budget: &Value) -> bool {
    let desired = count(budget, "desiredHealthy");
    meta::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || (desired > 0 && count(budget, "currentHealthy") >= desired)
}

fn count(budget: &Value, field: &str) -> i64 {
    meta::number(budget, &["status", field]).unwrap_or(0)
}

/// Counts the disruption against a budget.
async fn take_from_budget(
    server: &Server,
    call: &mut Call,
    target: &Target,
    budget: &Value,
) -> Result<(), ApiError> {
    let resource =
        server.served().catalog.find(POLICY, "v1", BUDGETS).ok_or(ApiError::NoSuchPath)?.clone();
    let of_budget = Target {
        table: crate::cacher::table_name(POLICY, BUDGETS),
        resource,
        namespace: target.namespace.clone(),
        name: meta::name(budget).to_owned(),
    };
    let now = time::seconds(server.now());
    let produce = |old: &Value| disrupted(old, &target.name, &now);
    let wanted = Change {
        subresource: "status",
        rules: Rules::Status,
        ownership: Ownership::Kept,
        produce: &produce,
    };
    change(server, call, &of_budget, &wanted).await.map(drop)
}

/// The budget with one disruption less, or a refusal.
fn disrupted(budget: &Value, pod: &str, now: &str) -> Result<Value, ApiError> {
    let name = meta::name(budget);
    let refused = |why: &str| Err(ApiError::forbidden(POLICY, "poddisruptionbudget", name, why));
    if count(budget, "observedGeneration") < meta::generation(budget) {
        return Err(still_counted(name));
    }
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        return refused("pdb disruptions allowed is negative");
    }
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    if disrupted.is_some_and(|disrupted| disrupted.len() > DISRUPTED_MAX) {
        return refused(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        return Err(too_many(why_none(budget), 0));
    }
    let mut new = budget.clone();
    let status = meta::object_mut(&mut new, &["status"]);
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    if allowed == 1 {
        let observed = count(budget, "observedGeneration");
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        exhausted(conditions, observed, now);
    }
    meta::object_mut(&mut new, &["status", "disruptedPods"]).insert(pod.to_owned(), now.into());
    Ok(new)
}

/// Notes among a budget's conditions that nothing more is allowed.
fn exhausted(conditions: &mut Value, observed: i64, now: &str) {
    const KIND: &str = "DisruptionAllowed";
    let Some(conditions) = conditions.as_array_mut() else { return };
    let was = conditions.iter().find(|one| one["type"] == KIND && one["status"] == "False");
    let since = was.map_or_else(|| now.into(), |was| was["lastTransitionTime"].clone());
    let note = json!({
        "type": KIND, "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": observed, "lastTransitionTime": since,
    });
    match conditions.iter_mut().find(|one| one["type"] == KIND) {
        Some(found) => *found = note,
        None => conditions.push(note),
    }
}

fn why_none(budget: &Value) -> String {
    let name = meta::name(budget);
    let mut conditions = meta::items(budget, &["status", "conditions"]).iter();
    let (reason, message) = conditions
        .find(|one| one["type"] == "DisruptionAllowed" && one["status"] == "False")
        .map(|one| (meta::text(one, &["reason"]), meta::text(one, &["message"])))
        .filter(|(_, message)| !message.is_empty())
        .unwrap_or_default();
    let (current, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    match reason {
        "SyncFailed" => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        ),
        _ if current <= desired => format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        ),
        "" => format!("The disruption budget {name} does not allow evicting pods currently"),
        reason => format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
        ),
    }
}

/// What a budget says is not of what it demands now.
fn still_counted(budget: &str) -> ApiError {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    too_many(why, COUNTED_WITHIN_S)
}

fn too_many(why: String, retry_after_s: u32) -> ApiError {
    ApiError::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
        retry_after_s,
        causes: vec![Cause {
            reason: "DisruptionBudget".into(),
            message: why,
            field: String::new(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_allows_so_many_and_no_more() {
        let budget = json!({"metadata": {"name": "b", "generation": 1},
            "status": {"disruptionsAllowed": 1, "observedGeneration": 1}});
        let once = disrupted(&budget, "p", "now").unwrap();
        assert_eq!(once["status"]["disruptionsAllowed"], 0);
        assert_eq!(once["status"]["disruptedPods"], json!({"p": "now"}));
        let condition = &once["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("InsufficientPods"))
        );
        assert_eq!(disrupted(&once, "q", "now").unwrap_err().code(), 429);
    }

    #[test]
    fn budget_that_was_not_counted_anew_gives_nothing() {
        let budget = json!({"metadata": {"name": "b", "generation": 2},
            "status": {"disruptionsAllowed": 5, "observedGeneration": 1}});
        let refusal = disrupted(&budget, "p", "now").unwrap_err();
        assert_eq!((refusal.code(), refusal.retry_after_s()), (429, Some(10)));
        let cause = &refusal.to_status()["details"]["causes"][0];
        assert_eq!(
            cause["message"],
            "The disruption budget b is still being processed by the server."
        );
        let mut negative = budget.clone();
        negative["status"] = json!({"disruptionsAllowed": -1, "observedGeneration": 2});
        assert_eq!(disrupted(&negative, "p", "now").unwrap_err().code(), 403);
    }

    #[test]
    fn only_what_is_ready_is_guarded() {
        let pod = |phase: &str, ready: &str| {
            json!({"metadata": {"name": "p", "resourceVersion": "7"}, "status": {"phase": phase,
                "conditions": [{"type": "Ready", "status": ready}]}})
        };
        let budget = |policy: &str, current: i64, desired: i64| {
            Arc::new(
                json!({"metadata": {"name": "b"}, "spec": {"unhealthyPodEvictionPolicy": policy},
                "status": {"currentHealthy": current, "desiredHealthy": desired}}),
            )
        };
        let spared = || Verdict::Spared { version: "7".into(), budget: "b".into() };
        let while_seen = || Verdict::FreeWhile("7".into());
        let costs = |budget: &Arc<Value>| Verdict::Costs(budget.clone());
        let (enough, few) = (budget("IfHealthyBudget", 2, 2), budget("", 1, 2));
        let (always, none) = (budget("AlwaysAllow", 0, 2), budget("", 0, 0));
        #[rustfmt::skip]
        let cases = [
            (pod("Running", "True"), vec![], Verdict::Free),
            (pod("Running", "True"), vec![enough.clone()], costs(&enough)),
            (pod("Running", "True"), vec![always.clone()], costs(&always)),
            (pod("Running", "False"), vec![enough.clone()], spared()),
            (pod("Running", "False"), vec![few.clone()], costs(&few)),
            (pod("Running", "False"), vec![none.clone()], costs(&none)),
            (pod("Running", "False"), vec![always.clone()], spared()),
            (pod("Running", "True"), vec![few.clone(), enough.clone()], Verdict::Unclear),
            (pod("Pending", "False"), vec![few.clone()], while_seen()),
            (pod("Succeeded", "False"), vec![few.clone()], Verdict::Free),
        ];
        for (pod, budgets, expected) in cases {
            assert_eq!(verdict(&pod, &budgets), expected, "{pod}");
        }
    }

    #[test]
    fn refusal_says_what_the_budget_lacks() {
        let budget = |current: i64, reason: &str, message: &str| {
            json!({"metadata": {"name": "b"}, "status": {"currentHealthy": current, "desiredHealthy": 2,
                "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message}]}})
        };
        let check = |budget: Value, expected: &str| {
            assert_eq!(why_none(&budget), format!("The disruption budget b {expected}"));
        };
        check(budget(1, "InsufficientPods", ""), "needs 2 healthy pods and has 1 currently");
        check(budget(3, "InsufficientPods", ""), "does not allow evicting pods currently");
        check(budget(3, "R", "m"), "does not allow evicting pods currently (R): m");
        check(
            budget(1, "SyncFailed", "m"),
            "does not allow evicting pods currently because it failed sync: m",
        );
    }

    #[test]
    fn evicted_pod_says_once_why_it_goes() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let once = marked(&pod, "now");
        let twice = marked(&once, "later");
        assert_eq!(once, twice);
        assert_eq!(once["status"]["conditions"][0]["type"], "Ready");
        assert_eq!(once["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    }
}
