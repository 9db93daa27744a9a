//! Rules of containers.

use std::collections::{BTreeMap, BTreeSet};

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::{probes, roles};
use crate::check::{self, Findings};
use crate::rules::{self, Must, Rule};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const VALUE_SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What containers of one pod must not share, and what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Context {
    volumes: BTreeSet<String>,
    /// Volumes that may be given as devices.
    block_volumes: BTreeSet<String>,
    is_host_network: bool,
    /// How long a pod gets to end, if that is said and makes sense.
    grace_s: Option<i64>,
    names: BTreeSet<String>,
    host_ports: BTreeSet<String>,
}

impl Context {
    pub(crate) fn new(spec: &Value, volumes: BTreeSet<String>) -> Self {
        let is_block = |volume: &&Value| {
            ["persistentVolumeClaim", "ephemeral"]
                .iter()
                .any(|kind| meta::at(volume, &[kind]).is_some())
        };
        let block_volumes = meta::items(spec, &["volumes"]).iter().filter(is_block);
        Self {
            block_volumes: block_volumes.map(|it| meta::text(it, &["name"]).to_owned()).collect(),
            volumes,
            is_host_network: meta::is_true(spec, &["hostNetwork"]),
            grace_s: meta::number(spec, &["terminationGracePeriodSeconds"]).filter(|s| *s >= 0),
            ..Self::default()
        }
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
    // Those that the pod was made with, once the last list is looked at.
    let others = context.names.clone();
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        check::named(container, "name", &path, names::dns1123_label, errors);
        let name = meta::text(container, &["name"]);
        if !name.is_empty() && !context.names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        one(container, &path, context, errors);
        if role == Role::Init {
            roles::init(container, &path, context.grace_s, errors);
        } else if role == Role::Main {
            probes::validate(container, &path, context.grace_s, errors);
        } else {
            roles::ephemeral(container, &path, &others, errors);
        }
    }
}

fn one(container: &Value, path: &FieldPath, context: &mut Context, errors: &mut Findings) {
    let image = meta::text(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(path.child("image"), ""));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    check::required_one_of(container, "imagePullPolicy", path, &policies, errors);
    let messages = ["File", "FallbackToLogsOnError"];
    check::one_of(container, "terminationMessagePolicy", path, &messages, errors);
    ports(container, &path.child("ports"), context, errors);
    environment(container, path, errors);
    mounts(container, &path.child("volumeMounts"), context, errors);
    devices(container, path, context, errors);
    resources(&container["resources"], &path.child("resources"), errors);
    resizing(container, path, errors);
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
        match meta::number(port, &["containerPort"]).unwrap_or_default() {
            0 => errors.push(FieldError::required(path.child("containerPort"), "")),
            _ => check::port(port, "containerPort", &path, errors),
        }
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
                let named = ("name", Must::BeGivenFormed(names::dns1123_subdomain));
                rules::check(&source[*name], &path, &[named], errors);
                check::named(&source[*name], "key", &path, names::config_key, errors);
            }
            [name @ "fieldRef"] => {
                field_ref(&source[*name], &path.child(name), VARIABLE_FIELDS, errors);
            }
            [name @ "resourceFieldRef"] => {
                resource_ref(&source[*name], &path.child(name), errors);
            }
            [_] => {}
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
    }
    for (at, source) in meta::items(container, &["envFrom"]).iter().enumerate() {
        // Of a source without anything upstream does not say which one it is.
        let (list, path) = (path.child("envFrom"), path.child("envFrom").index(at));
        let present: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|name| meta::at(source, &[name]).is_some())
            .collect();
        match present.as_slice() {
            [] => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(list, "", detail));
            }
            [name] => {
                let named = ("name", Must::BeThereFormed(names::dns1123_subdomain));
                rules::check(&source[*name], &path.child(name), &[named], errors);
            }
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", detail));
            }
        }
    }
}

fn mounts(container: &Value, list: &FieldPath, context: &Context, errors: &mut Findings) {
    let mut paths_seen = BTreeSet::new();
    for (at, mount) in meta::items(container, &["volumeMounts"]).iter().enumerate() {
        let path = list.index(at);
        let name = meta::text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        if !context.volumes.contains(name) {
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
        const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
        if let Some(mode) = meta::at(mount, &["mountPropagation"]).and_then(Value::as_str)
            && !MODES.contains(&mode)
        {
            // Upstream leaves out which one of the list it is.
            let path = list.child("mountPropagation");
            errors.push(FieldError::not_supported(path, mode, &MODES));
        }
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

/// Limits and requests: known or qualified names, no negative amount, no request above its limit; of what cannot be shared
/// as much is requested as it is limited to.
pub(crate) fn resources(resources: &Value, path: &FieldPath, errors: &mut Findings) {
    amounts(resources, path, container_resource, errors);
}

/// Amounts whose names are judged by `named`: none is negative, and none is requested beyond its limit.
pub(crate) fn amounts(
    resources: &Value,
    path: &FieldPath,
    named: fn(&str, &FieldPath) -> Findings,
    errors: &mut Findings,
) {
    for list in ["limits", "requests"] {
        let path = path.child(list);
        for (name, amount) in resources[list].as_object().into_iter().flatten() {
            errors.extend(named(name, &path.key(name)));
            let is_negative = Quantity::from_json(amount).is_some_and(Quantity::is_negative);
            if is_negative {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(path.key(name), amount.clone(), detail));
            }
        }
    }
    let amounts = |list: &str| -> BTreeMap<&String, Quantity> {
        let pairs = resources[list].as_object().into_iter().flatten();
        pairs.filter_map(|(name, amount)| Some((name, Quantity::from_json(amount)?))).collect()
    };
    let limits = amounts("limits");
    for (name, request) in amounts("requests") {
        let is_shared = !name.contains('/') && !name.starts_with("hugepages-");
        let shown = meta::text(resources, &["requests", name]);
        match limits.get(name) {
            None if !is_shared => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(path.child("limits"), detail));
            }
            Some(limit) if !is_shared && request != *limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(path.child("requests"), shown, detail));
            }
            Some(limit) if request > *limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(path.child("requests"), shown, detail));
            }
            _ => {}
        }
    }
}

/// What is wrong with the name of a resource that containers have.
pub(crate) fn container_resource(name: &str, path: &FieldPath) -> Findings {
    let mut errors: Findings = names::qualified_name(name)
        .into_iter()
        .map(|problem| FieldError::invalid(path.clone(), name, problem))
        .collect();
    let is_standard =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !name.contains('/') && !is_standard {
        if errors.is_empty() && !STANDARD.contains(&name) {
            let detail = "must be a standard resource type or fully qualified";
            errors.push(FieldError::invalid(path.clone(), name, detail));
        }
        let detail = "must be a standard resource for containers";
        errors.push(FieldError::invalid(path.clone(), name, detail));
    }
    errors
}

/// Names of resources without a domain, for containers and for quotas.
pub(crate) const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Fields of a pod that its variables may show.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that there are at all, for variables and files.
const FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// A reference to a field of the pod.
pub(crate) fn field_ref(
    reference: &Value,
    path: &FieldPath,
    allowed: &[&str],
    errors: &mut Findings,
) {
    let (text, path) = (meta::text(reference, &["fieldPath"]), path.child("fieldPath"));
    let (field, has_subscript) = match text.split_once("['") {
        Some((field, _)) if text.ends_with("']") => (field, true),
        _ => (text, false),
    };
    let is_map = matches!(field, "metadata.annotations" | "metadata.labels");
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if has_subscript && !is_map {
        let detail =
            format!("error converting fieldPath: field label does not support subscript: {text}");
        errors.push(FieldError::invalid(path, text, detail));
    } else if !FIELDS.contains(&field) {
        let detail = format!("error converting fieldPath: field label not supported: {text}");
        errors.push(FieldError::invalid(path, text, detail));
    } else if !has_subscript && !allowed.contains(&field) {
        errors.push(FieldError::not_supported(path, text, allowed));
    }
}

/// A reference to an amount that a container has.
pub(crate) fn resource_ref(reference: &Value, path: &FieldPath, errors: &mut Findings) {
    let text = meta::text(reference, &["resource"]);
    let divisor = Quantity::from_json(&reference["divisor"]).filter(|divisor| !divisor.is_zero());
    if let Some(divisor) = divisor.map(|divisor| divisor.to_string()) {
        const BYTES: [&str; 13] =
            ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
        let of = text.split_once('.').map_or("", |(_, of)| of);
        let refused = match of {
            "cpu" if !["1m", "1"].contains(&&*divisor) => "1m and 1 are supported with the cpu",
            "memory" if !BYTES.contains(&&*divisor) => {
                "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory"
            }
            "ephemeral-storage" if !BYTES.contains(&&*divisor) => {
                "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage"
            }
            _ => "",
        };
        if !refused.is_empty() {
            let detail = format!("only divisor's values {refused} resource");
            errors.push(FieldError::invalid(path.child("divisor"), text, detail));
        }
    }
    let path = path.child("resource");
    let is_page = text.starts_with("limits.hugepages-") || text.starts_with("requests.hugepages-");
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !RESOURCES.contains(&text) && !is_page {
        errors.push(FieldError::not_supported(path, text, &RESOURCES));
    }
}

/// Volumes that are given as devices.
fn devices(container: &Value, path: &FieldPath, context: &Context, errors: &mut Findings) {
    let (mut names_seen, mut paths_seen) = (BTreeSet::new(), BTreeSet::new());
    for (at, device) in meta::items(container, &["volumeDevices"]).iter().enumerate() {
        let path = path.child("volumeDevices").index(at);
        let (name, place) = (meta::text(device, &["name"]), meta::text(device, &["devicePath"]));
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        if !name.is_empty() && !names_seen.insert(name) {
            errors.push(FieldError::invalid(path.child("name"), name, "must be unique"));
        }
        if !context.volumes.contains(name) {
            errors.push(FieldError::not_found(path.child("name"), name));
        } else if !context.block_volumes.contains(name) {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(FieldError::invalid(path.child("name"), name, detail));
        }
        if place.is_empty() {
            errors.push(FieldError::required(path.child("devicePath"), ""));
        } else if !paths_seen.insert(place) {
            errors.push(FieldError::invalid(path.child("devicePath"), place, "must be unique"));
        }
    }
}

/// What happens to a container whose resources change. Upstream does not say which one of the list is wrong.
fn resizing(container: &Value, path: &FieldPath, errors: &mut Findings) {
    const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];
    let path = path.child("resizePolicy");
    let mut seen = BTreeSet::new();
    for (at, policy) in meta::items(container, &["resizePolicy"]).iter().enumerate() {
        let name = meta::text(policy, &["resourceName"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(path.index(at), name));
        }
        for (field, known) in [("resourceName", ["cpu", "memory"]), ("restartPolicy", POLICIES)] {
            let text = meta::text(policy, &[field]);
            if text.is_empty() {
                errors.push(FieldError::required(path.clone(), ""));
            } else if !known.contains(&text) {
                errors.push(FieldError::not_supported(path.clone(), text, &known));
            }
        }
    }
}

fn security(context: &Value, path: &FieldPath, errors: &mut Findings) {
    let rules: &[Rule] = &[
        ("runAsUser", rules::ID),
        ("runAsGroup", rules::ID),
        ("procMount", Must::BeOneOf(&["Default", "Unmasked"])),
    ];
    rules::check(context, path, rules, errors);
    super::validate::profiles(context, path, errors);
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
