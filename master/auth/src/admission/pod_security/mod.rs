//! PodSecurity: pods keep to the level their namespace's labels demand (Pod Security Standards).
//!
//! Covers every way to a container: init and ephemeral ones, updates, the ephemeralcontainers and
//! resize subresources. Workloads whose pods would be refused are warned about, not refused.

mod baseline;
mod restricted;

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::authz::containers;
use crate::json::{items, text, text_map};

const PREFIX: &str = "pod-security.kubernetes.io";

#[derive(Debug)]
pub(super) struct PodSecurity;

/// How much a pod may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    /// An unreadable label is taken for the strictest.
    fn read(text: &str) -> Self {
        match text {
            "" | "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            _ => Self::Restricted,
        }
    }
}

/// What breaks a level: upstream's short reason and detail.
pub(super) struct Violation {
    reason: &'static str,
    detail: String,
}

/// A check of a level.
type Check = fn(&Value) -> Option<Violation>;

impl Plugin for PodSecurity {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
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
            _ => None,
        };
        if let Some(template) = template {
            let labels = namespace_labels(request);
            for mode in ["enforce", "warn"] {
                warn(&labels, mode, template, warnings);
            }
        }
        Ok(())
    }
}

type Labels = std::collections::BTreeMap<String, String>;

fn namespace_labels(request: &Request<'_>) -> Labels {
    let namespace = request.reader.get("", "namespaces", "", request.namespace);
    namespace.map(|namespace| text_map(&namespace, "/metadata/labels")).unwrap_or_default()
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
    let labels = namespace_labels(request);
    if let Some(broken) = broken(&labels, "enforce", pod) {
        return Err(request.forbidden(format!("violates PodSecurity {broken}")));
    }
    warn(&labels, "warn", pod, warnings);
    Ok(())
}

fn warn(labels: &Labels, mode: &str, pod: &Value, warnings: &mut Vec<String>) {
    if let Some(broken) = broken(labels, mode, pod) {
        let warning = format!("would violate PodSecurity {broken}");
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// `"restricted:latest": reason (detail), reason (detail)`
fn broken(labels: &Labels, mode: &str, pod: &Value) -> Option<String> {
    let label = |name: &str| labels.get(&format!("{PREFIX}/{name}")).map_or("", String::as_str);
    let (level, version) = (label(mode), label(&format!("{mode}-version")));
    let checks: Vec<Check> = match Level::read(level) {
        Level::Privileged => return None,
        Level::Baseline => baseline::CHECKS.to_vec(),
        Level::Restricted => [&baseline::CHECKS_KEPT[..], &restricted::CHECKS[..]].concat(),
    };
    let violations: Vec<String> = checks
        .iter()
        .filter_map(|check| check(pod))
        .map(|violation| match violation.detail.is_empty() {
            true => violation.reason.to_owned(),
            false => format!("{} ({})", violation.reason, violation.detail),
        })
        .collect();
    let version = if version.is_empty() { "latest" } else { version };
    (!violations.is_empty()).then(|| format!("\"{level}:{version}\": {}", violations.join(", ")))
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
