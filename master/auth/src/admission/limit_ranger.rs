//! LimitRanger: containers get the namespace's default requests and limits, and everything stays
//! within its least and most.

use std::collections::{BTreeMap, BTreeSet};

use master_api::quantity::Quantity;
use master_api::status::ApiError;
use master_registry::pod_amounts::{Amounts, amounts, of_pod};
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::{items, object_at, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

#[derive(Debug)]
pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if request.is("", "pods") && request.operation == Operation::Create {
            for range in request.reader.list("", "limitranges", Some(request.namespace)) {
                complete(pod, &range);
            }
        }
        Ok(())
    }

    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_pod = (request.is("", "pods") && request.operation == Operation::Create)
            || request.is("", "pods/resize");
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        let is_claim = request.is("", "persistentvolumeclaims") && is_write;
        if !is_pod && !is_claim {
            return Ok(());
        }
        // What goes may go as it is.
        if request.old.is_some_and(is_going) {
            return Ok(());
        }
        for range in request.reader.list("", "limitranges", Some(request.namespace)) {
            let broken: Vec<String> = items(&range, "/spec/limits")
                .iter()
                .flat_map(|limit| {
                    if is_pod {
                        broken_by_pod(object, limit)
                    } else {
                        broken_by_claim(object, limit)
                    }
                })
                .collect();
            match broken.as_slice() {
                [] => {}
                [one] => return Err(request.forbidden(one.clone())),
                several => return Err(request.forbidden(format!("[{}]", several.join(", ")))),
            }
        }
        Ok(())
    }
}

fn is_going(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// Adds what a LimitRange gives to containers that do not say.
fn complete(pod: &mut Value, range: &Value) {
    let of_containers =
        || items(range, "/spec/limits").iter().filter(|limit| text(limit, "/type") == "Container");
    let defaults = |field: &str| -> serde_json::Map<String, Value> {
        of_containers()
            .filter_map(|limit| limit.get(field)?.as_object().cloned())
            .flatten()
            .collect()
    };
    let (requests, limits) = (defaults("defaultRequest"), defaults("default"));
    let mut notes = Vec::new();
    for (list, noun) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = text(container, "/name").to_owned();
            for (field, given, word) in
                [("requests", &requests, "request"), ("limits", &limits, "limit")]
            {
                let set = fill(container, field, given);
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {noun} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        object_at(pod, &["metadata", "annotations"])[ANNOTATION] = json!(note);
    }
}

fn fill(container: &mut Value, field: &str, given: &serde_json::Map<String, Value>) -> Vec<String> {
    let own = container
        .pointer(&format!("/resources/{field}"))
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let missing: BTreeMap<&String, &Value> =
        given.iter().filter(|(name, _)| !own.contains_key(*name)).collect();
    for (name, amount) in &missing {
        object_at(container, &["resources", field])[name.as_str()] = (*amount).clone();
    }
    missing.into_keys().cloned().collect()
}

/// What a pod breaks of one entry of a LimitRange.
fn broken_by_pod(pod: &Value, limit: &Value) -> Vec<String> {
    let containers =
        || items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    match text(limit, "/type") {
        "Container" => containers()
            .flat_map(|one| {
                broken(
                    "Container",
                    limit,
                    &amounts(one, "/resources/requests"),
                    &amounts(one, "/resources/limits"),
                )
            })
            .collect(),
        "Pod" => {
            broken("Pod", limit, &of_pod(&pod["spec"], "requests"), &of_pod(&pod["spec"], "limits"))
        }
        _ => Vec::new(),
    }
}

fn broken_by_claim(claim: &Value, limit: &Value) -> Vec<String> {
    if text(limit, "/type") != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let requests = amounts(claim, "/spec/resources/requests");
    broken("PersistentVolumeClaim", limit, &requests, &requests)
}

fn broken(kind: &str, limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let (least, most, ratio) =
        (amounts(limit, "/min"), amounts(limit, "/max"), amounts(limit, "/maxLimitRequestRatio"));
    let names: BTreeSet<&String> = least.keys().chain(most.keys()).chain(ratio.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (request, limit) = (requests.get(name).copied(), limits.get(name).copied());
        let least = least.get(name).and_then(|least| below(kind, name, *least, request, limit));
        let most = most.get(name).and_then(|most| above(kind, name, *most, request, limit));
        let ratio = ratio.get(name).and_then(|ratio| beyond(kind, name, *ratio, request, limit));
        found.extend([least, most, ratio].into_iter().flatten());
    }
    found
}

fn below(
    kind: &str,
    name: &str,
    least: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if request < least => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if limit < least => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn above(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if limit > most => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if request > most => Some(format!("{head}, but request is {request}")),
        _ => None,
    }
}

fn beyond(
    kind: &str,
    name: &str,
    ratio: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {ratio}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    // limit / request > ratio, without a division.
    let (left, right) = (
        i128::from(limit.millis()) * 1000,
        i128::from(request.millis()) * i128::from(ratio.millis()),
    );
    let shown = || {
        #[expect(clippy::cast_precision_loss, reason = "shown to a person with six digits")]
        let ratio = limit.millis() as f64 / request.millis() as f64;
        format!("{head}, but provided ratio is {ratio:.6}")
    };
    (left > right).then(shown)
}
