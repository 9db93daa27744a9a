//! ResourceQuota: a namespace takes no more than its quotas allow.
//!
//! Usage is counted from this master's memory at each write that could add to it, not read from the
//! quota's status. Two masters that admit at the same moment may therefore together go beyond a quota
//! by what is in flight; storage closes that gap once quotas become companions of the write.

mod usage;

use master_api::quantity::Quantity;
use master_api::status::ApiError;
use serde_json::Value;

use self::usage::{Amounts, matches_scopes, of_object, relevant};
use crate::admission::{Operation, Plugin, Request};
use crate::json::{items, text};

#[derive(Debug)]
pub(super) struct ResourceQuota;

impl Plugin for ResourceQuota {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_resize = request.is("", "pods/resize");
        let is_whole = request.subresource.is_empty() || is_resize;
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        if !is_whole || !is_write || request.namespace.is_empty() {
            return Ok(());
        }
        let asked = of_object(request.group, request.resource, object);
        let before = request
            .old
            .map(|old| of_object(request.group, request.resource, old))
            .unwrap_or_default();
        let added = usage::minus(&asked, &before);
        if added.is_empty() {
            return Ok(());
        }
        for quota in request.reader.list("", "resourcequotas", Some(request.namespace)) {
            check(request, object, &quota, &added)?;
        }
        Ok(())
    }
}

fn check(
    request: &Request<'_>,
    object: &Value,
    quota: &Value,
    added: &Amounts,
) -> Result<(), ApiError> {
    let hard = usage::amounts(quota, "/spec/hard");
    let limited: Vec<&String> =
        hard.keys().filter(|name| relevant(request.group, request.resource, name)).collect();
    if limited.is_empty() || !matches_scopes(quota, request.resource, object) {
        return Ok(());
    }
    let name = text(quota, "/metadata/name");
    if request.resource == "pods" && request.operation == Operation::Create {
        let missing = missing_amounts(object, &limited);
        if !missing.is_empty() {
            return Err(request
                .forbidden(format!("failed quota: {name}: must specify {}", missing.join("; "))));
        }
    }
    let used = used(request, quota);
    let exceeded: Vec<&String> = limited
        .into_iter()
        .filter(|name| {
            let amount = |of: &Amounts| of.get(*name).copied().unwrap_or_default();
            !amount(added).is_zero()
                && !amount(added).is_negative()
                && amount(&used) + amount(added) > amount(&hard)
        })
        .collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let shown = |of: &Amounts| {
        let parts = exceeded
            .iter()
            .map(|name| format!("{name}={}", of.get(*name).copied().unwrap_or(Quantity::ZERO)));
        parts.collect::<Vec<_>>().join(",")
    };
    Err(request.forbidden(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        shown(added),
        shown(&used),
        shown(&hard)
    )))
}

/// What the quota's objects of this resource use, the one that is written left as it was.
fn used(request: &Request<'_>, quota: &Value) -> Amounts {
    let objects = request.reader.list(request.group, request.resource, Some(request.namespace));
    let mut used = Amounts::new();
    for object in objects.iter().filter(|object| matches_scopes(quota, request.resource, object)) {
        usage::add(&mut used, &of_object(request.group, request.resource, object));
    }
    used
}

/// For each limited amount, the containers that do not say how much they want.
fn missing_amounts(pod: &Value, limited: &[&String]) -> Vec<String> {
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
