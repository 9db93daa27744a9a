//! PodSecurity: pods keep to the level their namespace's labels demand (Pod Security Standards), as that was at the
//! version that the labels name.
//!
//! Covers every way to a container: init and ephemeral ones, updates, the ephemeralcontainers and
//! resize subresources. Workloads whose pods would be refused are warned about, not refused; so is who
//! raises a namespace's level above what its pods keep to.

mod baseline;
mod policy;
mod restricted;

use std::collections::BTreeMap;

use master_api::status::ApiError;
use serde_json::Value;

use self::policy::{Demand, Policy};
use crate::admission::{Operation, Plugin, Request};
use crate::authz::containers;
use crate::json::{items, text, text_map};

/// A level that is raised is held against so many pods.
const PODS_MAX: usize = 3_000;

#[derive(Debug)]
pub(super) struct PodSecurity;

/// How much a pod may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// What breaks a level: upstream's short reason and detail.
pub(super) struct Violation {
    reason: &'static str,
    detail: String,
}

/// A check of a level, as it was at a minor version.
type Check = fn(&Value, u32) -> Option<Violation>;

/// A check, and from which minor version on it is made.
struct Rule {
    check: Check,
    since: u32,
    /// From when on the restricted level has a stricter one in its place.
    replaced: u32,
}

/// A version that never comes.
const NEVER: u32 = u32::MAX;
/// Since when the levels know of pods for Windows.
const KNOWS_WINDOWS: u32 = 25;
/// Since when the levels know that root in a user namespace is not root.
const KNOWS_USER_NAMESPACES: u32 = 35;

impl Plugin for PodSecurity {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        if is_write && request.is("", "namespaces") {
            return check_namespace(request, object, warnings);
        }
        if !is_write || request.namespace.is_empty() {
            return Ok(());
        }
        if request.group.is_empty() && request.resource == "pods" {
            return check_pod(request, object, warnings);
        }
        let template = match (request.group, request.resource, request.subresource) {
            ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets", "")
            | ("batch", "jobs", "")
            | ("", "replicationcontrollers", "") => object.pointer("/spec/template"),
            ("batch", "cronjobs", "") => object.pointer("/spec/jobTemplate/spec/template"),
            ("", "podtemplates", "") => object.pointer("/template"),
            _ => None,
        };
        if let Some(template) = template {
            warn(&policy_of(request).warn, template, warnings);
        }
        Ok(())
    }
}

fn policy_of(request: &Request<'_>) -> Policy {
    let namespace = request.reader.get("", "namespaces", "", request.namespace);
    Policy::of(namespace.as_deref().unwrap_or(&Value::Null)).0
}

fn check_pod(
    request: &Request<'_>,
    pod: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let adds_nothing = request.old.is_some_and(|old| !is_significant(old, pod));
    if !matches!(request.subresource, "" | "ephemeralcontainers" | "resize") || adds_nothing {
        return Ok(());
    }
    let policy = policy_of(request);
    if let Some(broken) = broken(&policy.enforce, pod) {
        return Err(request.forbidden(format!("violates PodSecurity {broken}")));
    }
    warn(&policy.warn, pod, warnings);
    Ok(())
}

/// Labels that say nothing are refused where they are new; of pods that do not keep to a level that is raised, its
/// author is told.
fn check_namespace(
    request: &Request<'_>,
    namespace: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), ApiError> {
    let (policy, errors) = Policy::of(namespace);
    let name = text(namespace, "/metadata/name");
    let before = request.old.map(Policy::of);
    let known = before.as_ref().map(|(_, errors)| errors);
    if !errors.is_empty() && known != Some(&errors) {
        return Err(ApiError::invalid("", "Namespace", name, errors));
    }
    if let Some((before, _)) = before
        && policy.enforce.asks_more_than(&before.enforce)
    {
        warnings.extend(pods_that_break(request, name, &policy.enforce));
    }
    Ok(())
}

fn pods_that_break(request: &Request<'_>, namespace: &str, demand: &Demand) -> Vec<String> {
    let pods = request.reader.list("", "pods", Some(namespace));
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let reasons: Vec<&str> =
            demand.broken_by(pod).iter().map(|violation| violation.reason).collect();
        if !reasons.is_empty() {
            found.entry(reasons.join(", ")).or_default().push(text(pod, "/metadata/name"));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{demand}\""
        ));
    }
    let line = |(reasons, pods): (&String, &Vec<&str>)| {
        let first = pods.iter().min().copied().unwrap_or_default();
        match pods.len() - 1 {
            0 => format!("{first}: {reasons}"),
            1 => format!("{first} (and 1 other pod): {reasons}"),
            others => format!("{first} (and {others} other pods): {reasons}"),
        }
    };
    let mut lines: Vec<String> = found.iter().map(line).collect();
    lines.sort_unstable();
    warnings.extend(lines);
    warnings
}

fn warn(demand: &Demand, pod: &Value, warnings: &mut Vec<String>) {
    warnings
        .extend(broken(demand, pod).map(|broken| format!("would violate PodSecurity {broken}")));
}

/// `"restricted:latest": reason (detail), reason (detail)`
fn broken(demand: &Demand, pod: &Value) -> Option<String> {
    let violations = demand.broken_by(pod);
    let shown = violations.iter().map(|violation| match violation.detail.is_empty() {
        true => violation.reason.to_owned(),
        false => format!("{} ({})", violation.reason, violation.detail),
    });
    let shown: Vec<String> = shown.collect();
    (!shown.is_empty()).then(|| format!("\"{demand}\": {}", shown.join(", ")))
}

/// Whether root in the pod is nobody on its node, which the levels take into account.
fn is_in_user_namespace(pod: &Value, minor: u32) -> bool {
    minor >= KNOWS_USER_NAMESPACES
        && pod.pointer("/spec/hostUsers").and_then(Value::as_bool) == Some(false)
}

/// Whether the pod is for Windows, where some of what the levels demand means nothing.
fn is_for_windows(pod: &Value, minor: u32) -> bool {
    minor >= KNOWS_WINDOWS && text(pod, "/spec/os/name") == "windows"
}

/// Whether an update touches what the checks look at. What does not matter to them may be changed in
/// pods that are older than the label.
fn is_significant(old: &Value, new: &Value) -> bool {
    let judged = |pod: &Value| {
        let containers: Vec<Value> = containers(pod)
            .map(|container| {
                let field = |name: &str| container.get(name).cloned().unwrap_or_default();
                Value::Array(
                    ["name", "image", "securityContext", "ports", "lifecycle"].map(field).to_vec(),
                )
            })
            .collect();
        let pod_level = pod.pointer("/spec/securityContext").cloned().unwrap_or_default();
        let annotations = text_map(pod, "/metadata/annotations");
        let guarded = annotations
            .into_iter()
            .filter(|(key, _)| key.contains("apparmor") || key.contains("seccomp"));
        (containers, pod_level, guarded.collect::<Vec<_>>())
    };
    judged(old) != judged(new)
}

/// Names of the containers that are bad.
pub(super) fn bad_containers(pod: &Value, is_bad: impl Fn(&Value) -> bool) -> Vec<String> {
    let bad = containers(pod).filter(|container| is_bad(container));
    bad.map(|container| text(container, "/name").to_owned()).collect()
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn named(noun: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", quoted(names))
}

pub(super) fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    quoted.join(", ")
}

/// Who sets something bad: `pod and container "a"`.
pub(super) fn setters(is_pod_bad: bool, containers: &[String]) -> Option<String> {
    match (is_pod_bad, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(named("container", containers)),
        (true, false) => Some(format!("pod and {}", named("container", containers))),
    }
}

/// All values at a pointer, of the containers.
pub(super) fn values(pod: &Value, pointer: &str) -> std::collections::BTreeSet<String> {
    containers(pod)
        .map(|container| text(container, pointer).to_owned())
        .filter(|value| !value.is_empty())
        .collect()
}

pub(super) fn volumes(pod: &Value) -> &[Value] {
    items(pod, "/spec/volumes")
}
