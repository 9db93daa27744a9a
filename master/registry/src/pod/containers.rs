//! Rules of containers.

use std::collections::{BTreeMap, BTreeSet};

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::probes;
use crate::check::{self, Findings};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const VALUE_SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What containers of one pod must not share, and what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Context {
    volumes: BTreeSet<String>,
    is_host_network: bool,
    names: BTreeSet<String>,
    host_ports: BTreeSet<String>,
}

impl Context {
    pub(crate) fn new(volumes: BTreeSet<String>, is_host_network: bool) -> Self {
        Self { volumes, is_host_network, ..Self::default() }
    }
}

/// Which of the three lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Main,
    Ephemeral,
}

pub(crate) fn validate(
    containers: &[Value],
    role: Role,
    path: &FieldPath,
    context: &mut Context,
    errors: &mut Findings,
) {
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        check::named(container, "name", &path, names::dns1123_label, errors);
        let name = meta::text(container, &["name"]);
        if !name.is_empty() && !context.names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        one(container, &path, context, errors);
        if role == Role::Init {
            init_only(container, &path, errors);
        } else if role == Role::Main {
            probes::validate(container, &path, errors);
        }
    }
}

fn init_only(container: &Value, path: &FieldPath, errors: &mut Findings) {
    let is_sidecar = super::status::is_sidecar(container);
    check::one_of(container, "restartPolicy", path, &["Always", "Never", "OnFailure"], errors);
    if is_sidecar {
        probes::validate(container, path, errors);
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if meta::at(container, &[field]).is_some() {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(path.child(field), detail));
        }
    }
}

fn one(container: &Value, path: &FieldPath, context: &mut Context, errors: &mut Findings) {
    let image = meta::text(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(path.child("image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path.child("image"), image, detail));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    check::required_one_of(container, "imagePullPolicy", path, &policies, errors);
    let messages = ["FallbackToLogsOnError", "File"];
    check::one_of(container, "terminationMessagePolicy", path, &messages, errors);
    ports(container, &path.child("ports"), context, errors);
    environment(container, path, errors);
    mounts(container, &path.child("volumeMounts"), context, errors);
    resources(&container["resources"], &path.child("resources"), errors);
    security(&container["securityContext"], &path.child("securityContext"), errors);
}

fn ports(container: &Value, path: &FieldPath, context: &mut Context, errors: &mut Findings) {
    let mut names_seen = BTreeSet::new();
    for (at, port) in meta::items(container, &["ports"]).iter().enumerate() {
        let path = path.index(at);
        check::well_formed(port, "name", &path, names::port_name, errors);
        let name = meta::text(port, &["name"]);
        if !name.is_empty() && !names_seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        check::port(port, "containerPort", &path, errors);
        check::required_one_of(port, "protocol", &path, &PROTOCOLS, errors);
        let host_port = meta::number(port, &["hostPort"]).unwrap_or_default();
        if host_port == 0 {
            continue;
        }
        check::port(port, "hostPort", &path, errors);
        if context.is_host_network && port["hostPort"] != port["containerPort"] {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(path.child("hostPort"), host_port, detail));
        }
        let text = |field: &str| meta::text(port, &[field]);
        let place = format!("{}/{}/{host_port}", text("protocol"), text("hostIP"));
        if !context.host_ports.insert(place.clone()) {
            errors.push(FieldError::duplicate(path.child("hostPort"), place));
        }
    }
}

fn environment(container: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, variable) in meta::items(container, &["env"]).iter().enumerate() {
        let path = path.child("env").index(at);
        check::named(variable, "name", &path, names::env_name, errors);
        let Some(source) = meta::at(variable, &["valueFrom"]) else { continue };
        let path = path.child("valueFrom");
        let present: Vec<&str> =
            VALUE_SOURCES.into_iter().filter(|name| meta::at(source, &[name]).is_some()).collect();
        match present.as_slice() {
            [] => errors.push(FieldError::invalid(
                path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            )),
            [_] if !meta::text(variable, &["value"]).is_empty() => {
                let detail = "may not be specified when `value` is not empty";
                errors.push(FieldError::invalid(path, "", detail));
            }
            [name @ ("configMapKeyRef" | "secretKeyRef")] => {
                let path = path.child(name);
                check::required(&source[*name], "name", &path, errors);
                check::named(&source[*name], "key", &path, names::config_key, errors);
            }
            [name @ "fieldRef"] => {
                check::required(&source[*name], "fieldPath", &path.child(name), errors);
            }
            [name @ "resourceFieldRef"] => {
                check::required(&source[*name], "resource", &path.child(name), errors);
            }
            [_] => {}
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
    }
    for (at, source) in meta::items(container, &["envFrom"]).iter().enumerate() {
        let path = path.child("envFrom").index(at);
        let present: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|name| meta::at(source, &[name]).is_some())
            .collect();
        match present.as_slice() {
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(path, "", detail));
            }
            [name] => check::required(&source[*name], "name", &path.child(name), errors),
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
    }
}

fn mounts(container: &Value, path: &FieldPath, context: &Context, errors: &mut Findings) {
    let mut paths_seen = BTreeSet::new();
    for (at, mount) in meta::items(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.index(at);
        let name = meta::text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        } else if !context.volumes.contains(name) {
            errors.push(FieldError::not_found(path.child("name"), name));
        }
        let mount_path = meta::text(mount, &["mountPath"]);
        if mount_path.is_empty() {
            errors.push(FieldError::required(path.child("mountPath"), ""));
        } else if !paths_seen.insert(mount_path) {
            errors.push(FieldError::invalid(path.child("mountPath"), mount_path, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            relative(mount, field, &path, errors);
        }
        let both = ["subPath", "subPathExpr"].iter().all(|f| !meta::text(mount, &[f]).is_empty());
        if both {
            let text = meta::text(mount, &["subPathExpr"]);
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(path.child("subPathExpr"), text, detail));
        }
        let modes = ["Bidirectional", "HostToContainer", "None"];
        check::one_of(mount, "mountPropagation", &path, &modes, errors);
    }
}

/// A path below a volume: not absolute, and without a step upwards.
pub(crate) fn relative(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    let text = meta::text(object, &[field]);
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path.child(field), text, "must be a relative path"));
    }
    no_backsteps(object, field, path, errors);
}

/// A path without a step upwards.
pub(crate) fn no_backsteps(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    let text = meta::text(object, &[field]);
    if text.split('/').any(|step| step == "..") {
        errors.push(FieldError::invalid(path.child(field), text, "must not contain '..'"));
    }
}

/// Limits and requests: known or qualified names, no negative amount, no request above its limit.
pub(crate) fn resources(resources: &Value, path: &FieldPath, errors: &mut Findings) {
    for list in ["limits", "requests"] {
        let path = path.child(list);
        check::amounts(&resources[list], &path, errors);
        for name in resources[list].as_object().into_iter().flatten().map(|(name, _)| name) {
            let is_standard =
                matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "storage")
                    || name.starts_with("hugepages-");
            if !is_standard && !name.contains('/') {
                let detail = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(path.clone(), name.as_str(), detail));
            }
            for problem in names::qualified_name(name) {
                errors.push(FieldError::invalid(path.clone(), name.as_str(), problem));
            }
        }
    }
    let amounts = |list: &str| -> BTreeMap<&String, Quantity> {
        let pairs = resources[list].as_object().into_iter().flatten();
        pairs.filter_map(|(name, amount)| Some((name, Quantity::from_json(amount)?))).collect()
    };
    let limits = amounts("limits");
    for (name, request) in amounts("requests") {
        if let Some(limit) = limits.get(name).filter(|limit| request > **limit) {
            let shown = meta::text(resources, &["requests", name]);
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(path.child("requests"), shown, detail));
        }
    }
}

fn security(context: &Value, path: &FieldPath, errors: &mut Findings) {
    for field in ["runAsUser", "runAsGroup"] {
        if let Some(id) =
            meta::number(context, &[field]).filter(|id| !(0..=i64::from(i32::MAX)).contains(id))
        {
            let detail = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.push(FieldError::invalid(path.child(field), id, detail));
        }
    }
    let forbids_escalation = context["allowPrivilegeEscalation"] == false;
    if forbids_escalation && context["privileged"] == true {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path.clone(), context.clone(), detail));
    }
    let added = meta::items(context, &["capabilities", "add"]);
    if forbids_escalation && added.iter().any(|name| name == "CAP_SYS_ADMIN") {
        let detail =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path.clone(), context.clone(), detail));
    }
}
