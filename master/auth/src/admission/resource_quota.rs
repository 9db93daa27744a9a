//! ResourceQuota: a namespace takes no more than its quotas allow.
//!
//! What a write adds is charged to the quotas it falls under: [`charges`] says which quotas, and what their
//! status is afterwards. Storage writes those in the object's own transaction, on the condition that no
//! quota of the namespace is newer than the memory that was judged from: exact on any number of masters.
//!
//! Used is what the quota's status says; where it says nothing yet (a quota that was made a moment ago),
//! the objects are counted. Only the quota controller takes off what is deleted ([`recount`]).
//!
//! # Invariants
//! - A quota is read before the objects that it counts: what is counted is never older than the quota.

mod usage;

use std::sync::Arc;

use master_api::quantity::Quantity;
use master_api::status::ApiError;
use master_registry::pod_amounts::says_itself;
use serde_json::{Map, Value, json};

use self::usage::{Amounts, matches_scopes, of_object, relevant};
use crate::admission::{Operation, Plugin, Request};
use crate::json::{items, object_at, text};

pub(super) use self::usage::requests_of;
pub use self::usage::{COUNTED, counted_resources};

/// A quota that a write is charged to.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    pub name: String,
    /// The quota with its status as it is after the write.
    pub quota: Value,
}

/// The objects of a group and plural.
pub type Listed = ((String, String), Vec<Arc<Value>>);

#[derive(Debug)]
pub(super) struct ResourceQuota;

impl Plugin for ResourceQuota {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        charges(request, object).map(drop)
    }
}

/// Whether a write could be charged at all: creations, and updates of the object or its size, of kinds that
/// are counted.
pub fn may_charge(request: &Request<'_>) -> bool {
    let is_whole = request.subresource.is_empty() || request.is("", "pods/resize");
    let is_write = matches!(request.operation, Operation::Create | Operation::Update);
    let is_event = request.resource == "events" && matches!(request.group, "" | "events.k8s.io");
    is_whole && is_write && !is_event && !request.namespace.is_empty()
}

/// Whether a quota of the namespace takes the write, or refuses it.
pub fn is_charged(request: &Request<'_>, object: &Value) -> bool {
    charges(request, object).map_or(true, |charges| !charges.is_empty())
}

/// The quotas that take what the write adds, or the refusal of one that does not.
pub fn charges(request: &Request<'_>, object: &Value) -> Result<Vec<Charge>, ApiError> {
    if !may_charge(request) {
        return Ok(Vec::new());
    }
    let quotas = request.reader.list("", "resourcequotas", Some(request.namespace));
    let charged = quotas.iter().map(|quota| charge(request, object, quota));
    charged.filter_map(Result::transpose).collect()
}

fn charge(
    request: &Request<'_>,
    object: &Value,
    quota: &Value,
) -> Result<Option<Charge>, ApiError> {
    let hard = usage::amounts(quota, "/spec/hard");
    let limited: Vec<&String> =
        hard.keys().filter(|name| relevant(request.group, request.resource, name)).collect();
    if limited.is_empty() || !matches_scopes(quota, request.resource, object) {
        return Ok(None);
    }
    let name = text(quota, "/metadata/name");
    if request.resource == "pods" && request.operation == Operation::Create {
        let missing = missing_amounts(object, &limited);
        if !missing.is_empty() {
            return Err(request
                .forbidden(format!("failed quota: {name}: must specify {}", missing.join("; "))));
        }
    }
    let count = |object: &Value| of_object(request.group, request.resource, object);
    let counted_before = request.old.filter(|old| matches_scopes(quota, request.resource, old));
    let before = counted_before.map(count).unwrap_or_default();
    let added = usage::minus(&count(object), &before);
    let amount = |of: &Amounts, name: &str| of.get(name).copied().unwrap_or_default();
    let is_more =
        |name: &&&String| !amount(&added, name).is_zero() && !amount(&added, name).is_negative();
    if !limited.iter().any(|name| is_more(&name)) {
        return Ok(None);
    }
    let used = used(request, quota, &limited);
    let exceeded: Vec<&String> = limited
        .iter()
        .filter(is_more)
        .filter(|name| amount(&used, name) + amount(&added, name) > amount(&hard, name))
        .copied()
        .collect();
    if !exceeded.is_empty() {
        return Err(refusal(request, name, &exceeded, [&added, &used, &hard]));
    }
    let mut charged = quota.clone();
    for name in limited {
        let total = (amount(&used, name) + amount(&added, name)).to_string();
        object_at(&mut charged, &["status", "used"])[name] = total.into();
        object_at(&mut charged, &["status", "hard"])[name] = quota["spec"]["hard"][name].clone();
    }
    Ok(Some(Charge { name: name.to_owned(), quota: charged }))
}

fn refusal(
    request: &Request<'_>,
    quota: &str,
    exceeded: &[&String],
    [added, used, hard]: [&Amounts; 3],
) -> ApiError {
    let shown = |of: &Amounts| {
        let parts = exceeded
            .iter()
            .map(|name| format!("{name}={}", of.get(*name).copied().unwrap_or(Quantity::ZERO)));
        parts.collect::<Vec<_>>().join(",")
    };
    request.forbidden(format!(
        "exceeded quota: {quota}, requested: {}, used: {}, limited: {}",
        shown(added),
        shown(used),
        shown(hard)
    ))
}

/// What is used of some amounts: as the quota's status says, or counted where it does not say.
fn used(request: &Request<'_>, quota: &Value, limited: &[&String]) -> Amounts {
    let (hard, said) =
        (usage::amounts(quota, "/status/hard"), usage::amounts(quota, "/status/used"));
    if limited.iter().all(|name| hard.contains_key(*name) && said.contains_key(*name)) {
        return said;
    }
    let objects = request.reader.list(request.group, request.resource, Some(request.namespace));
    count(quota, request.group, request.resource, &objects, request.old)
}

/// What a quota's objects of one resource use; of the one that is written (`old`), what it was.
fn count(
    quota: &Value,
    group: &str,
    resource: &str,
    objects: &[Arc<Value>],
    old: Option<&Value>,
) -> Amounts {
    let mut used = Amounts::new();
    let uid = old.map(|old| text(old, "/metadata/uid")).filter(|uid| !uid.is_empty());
    for object in objects {
        let is_written = uid.is_some_and(|uid| text(object, "/metadata/uid") == uid);
        let object = if is_written { old.unwrap_or(object) } else { object };
        if matches_scopes(quota, resource, object) {
            usage::add(&mut used, &of_object(group, resource, object));
        }
    }
    used
}

/// The status of a quota, from the objects that there are: `list` gives those of a group and resource, read
/// after the quota was.
pub fn recount(quota: &Value, listed: &[Listed]) -> Value {
    let mut used = Amounts::new();
    for ((group, resource), objects) in listed {
        usage::add(&mut used, &count(quota, group, resource, objects, None));
    }
    let hard = usage::amounts(quota, "/spec/hard");
    let mut shown = Map::new();
    for name in hard.keys() {
        let amount = used.get(name).copied().unwrap_or(Quantity::ZERO);
        shown.insert(name.clone(), amount.to_string().into());
    }
    let hard = quota.pointer("/spec/hard").cloned().unwrap_or_else(|| json!({}));
    json!({ "hard": hard, "used": shown })
}

/// For each limited amount, the containers that do not say how much they want.
fn missing_amounts(pod: &Value, limited: &[&String]) -> Vec<String> {
    if says_itself(&pod["spec"]) {
        return Vec::new();
    }
    let containers =
        || items(pod, "/spec/initContainers").iter().chain(items(pod, "/spec/containers"));
    let mut missing = Vec::new();
    for name in limited {
        let pointer = match name.as_str() {
            "cpu" | "requests.cpu" => "/resources/requests/cpu",
            "memory" | "requests.memory" => "/resources/requests/memory",
            "limits.cpu" => "/resources/limits/cpu",
            "limits.memory" => "/resources/limits/memory",
            _ => continue,
        };
        let silent = containers().filter(|container| container.pointer(pointer).is_none());
        let silent: Vec<&str> = silent.map(|container| text(container, "/name")).collect();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    missing
}
