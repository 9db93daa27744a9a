//! Eviction: a deletion that disruption budgets may refuse.

use http::StatusCode;
use master_api::selector::LabelSelector;
use master_api::status::{self, ApiError, Cause};
use master_api::{meta, time};
use serde_json::Value;

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::delete::{self, DeleteOptions};
use crate::rest::ownership::Ownership;
use crate::rest::{Target, answer_value, body};
use crate::server::Server;

const POLICY: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";

/// Answers with a Status.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let eviction =
        body::other(call, "io.k8s.api.policy.v1.Eviction", "policy/v1", "Eviction").await?;
    if meta::name(&eviction) != target.name {
        let message = "name in URL does not match name in Eviction object";
        return Err(ApiError::bad_request(message));
    }
    let pod = server.fresh(target).await?.ok_or_else(|| target.not_found())?;
    let mut options = DeleteOptions { dry_run: call.is_dry_run(), ..DeleteOptions::default() };
    delete::from_body(&mut options, &eviction["deleteOptions"])?;
    if is_protected(pod.value()) && !options.dry_run {
        take_from_budget(server, call, target, pod.value()).await?;
    }
    if !options.dry_run {
        mark(server, call, target, &mut options).await?;
    }
    delete::delete(server, call, target, &options).await?.said(&mut call.warnings);
    answer_value(call, StatusCode::CREATED, &status::done(StatusCode::CREATED.as_u16()))
}

/// Writes into the pod why it goes: a Job's failure policy may look for it.
async fn mark(
    server: &Server,
    call: &mut Call,
    target: &Target,
    options: &mut DeleteOptions,
) -> Result<(), ApiError> {
    let now = time::seconds(server.now());
    let (uid, version) = (options.uid.clone(), options.resource_version.clone());
    let produce = |old: &Value| {
        let differs = |wanted: &Option<String>, field: &str| {
            let has = meta::text(old, &["metadata", field]);
            wanted.as_ref().is_some_and(|wanted| wanted != has)
        };
        if differs(&uid, "uid") || differs(&version, "resourceVersion") {
            return Err(target.conflict("the preconditions of the eviction are not met"));
        }
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
    conditions.push(serde_json::json!({
        "type": KIND, "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": since, "lastProbeTime": null,
    }));
    let mut pod = pod.clone();
    meta::object_mut(&mut pod, &["status"]).insert("conditions".into(), conditions.into());
    pod
}

/// A pod that serves nobody may go whatever budgets say.
fn is_protected(pod: &Value) -> bool {
    let phase = meta::text(pod, &["status", "phase"]);
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !meta::is_terminating(pod)
}

/// Counts the disruption against the pod's budget, if it has one.
async fn take_from_budget(
    server: &Server,
    call: &mut Call,
    target: &Target,
    pod: &Value,
) -> Result<(), ApiError> {
    let budgets =
        master_api::access::Reader::list(&*server.cacher, POLICY, BUDGETS, Some(&target.namespace));
    let covers = |budget: &&std::sync::Arc<Value>| {
        let selector = &budget["spec"]["selector"];
        selector.is_object()
            && LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches_object(pod))
    };
    let covering: Vec<_> = budgets.iter().filter(covers).collect();
    let budget = match covering.as_slice() {
        [] => return Ok(()),
        [budget] => *budget,
        _ => {
            return Err(ApiError::Internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".into(),
            ));
        }
    };
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
    let count = |field: &str| meta::number(budget, &["status", field]).unwrap_or(0);
    let allowed = count("disruptionsAllowed");
    if allowed <= 0 {
        let message = format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            meta::name(budget),
            count("desiredHealthy"),
            count("currentHealthy")
        );
        return Err(ApiError::TooManyRequests {
            message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
            retry_after_s: 0,
            causes: vec![Cause {
                reason: "DisruptionBudget".into(),
                message,
                field: String::new(),
            }],
        });
    }
    let mut new = budget.clone();
    let status = meta::object_mut(&mut new, &["status"]);
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    meta::object_mut(&mut new, &["status", "disruptedPods"]).insert(pod.to_owned(), now.into());
    Ok(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn budget_allows_so_many_and_no_more() {
        let budget = json!({"metadata": {"name": "b"}, "status": {"disruptionsAllowed": 1}});
        let once = disrupted(&budget, "p", "now").unwrap();
        assert_eq!(once["status"], json!({"disruptionsAllowed": 0, "disruptedPods": {"p": "now"}}));
        assert_eq!(disrupted(&once, "q", "now").unwrap_err().code(), 429);
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
