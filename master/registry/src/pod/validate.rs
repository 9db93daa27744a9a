//! Rules of pod specifications.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, selector};
use serde_json::Value;

use super::containers::{self, Context, Role};
use super::{amounts, volumes};
use crate::check::{self, Findings};
use crate::objectmeta;
use crate::rules::{self, Must, Rule};

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Profiles that confine a container.
pub(crate) const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// Rules of a specification that need no more than its place.
const RULES: &[Rule] = &[
    ("dnsConfig.nameservers[]", Must::BeFormed(rules::address)),
    ("dnsConfig.searches[]", Must::BeFormed(search)),
    ("dnsConfig.options[]", Must::Have("name", "must not be empty")),
    ("hostAliases[].ip", Must::BeGivenFormed(rules::address)),
    ("hostAliases[].hostnames[]", Must::BeFormed(names::dns1123_subdomain)),
    ("readinessGates[].conditionType", Must::BeGivenFormed(names::qualified_name)),
    ("schedulingGates[]", Must::HaveFormed("name", names::qualified_name)),
    ("schedulingGates", Must::DifferAtItem("name")),
    ("securityContext.runAsUser", rules::ID),
    ("securityContext.runAsGroup", rules::ID),
    ("securityContext.fsGroup", rules::ID),
    ("securityContext.supplementalGroups[]", rules::ID),
    ("securityContext.fsGroupChangePolicy", Must::BeOneOf(&["Always", "OnRootMismatch"])),
    ("topologySpreadConstraints[].nodeAffinityPolicy", Must::BeOneOf(&["Honor", "Ignore"])),
    ("topologySpreadConstraints[].nodeTaintsPolicy", Must::BeOneOf(&["Honor", "Ignore"])),
    ("topologySpreadConstraints[].matchLabelKeys[]", Must::BeFormed(names::qualified_name)),
];

/// A domain that names are looked for in; the root and a dot at the end are fine.
fn search(text: &str) -> Vec<String> {
    let plain = text.strip_suffix('.').unwrap_or(text);
    if text == "." {
        return Vec::new();
    }
    if plain.len() > 253 {
        return vec!["must be no more than 253 characters".to_owned()];
    }
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        let is_edge = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let bytes = label.as_bytes();
        is_edge(bytes.first().copied())
            && is_edge(bytes.last().copied())
            && bytes.iter().all(|byte| is_edge(Some(*byte)) || b"-_".contains(byte))
    };
    if plain.split('.').all(is_label) {
        return Vec::new();
    }
    vec![r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')".to_owned()]
}

/// The template of a workload: its labels, annotations and specification.
pub(crate) fn template(template: &Value, path: &FieldPath, errors: &mut Findings) {
    // Upstream leaves out the word "metadata".
    errors.extend(objectmeta::labels(template, path));
    errors.extend(objectmeta::annotations(template, path));
    spec(&template["spec"], &path.child("spec"), errors);
    if !meta::items(template, &["spec", "ephemeralContainers"]).is_empty() {
        let path = path.child("spec").child("ephemeralContainers");
        errors
            .push(FieldError::forbidden(path, "ephemeral containers not allowed in pod template"));
    }
}

/// A pod specification.
pub(crate) fn spec(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let volume_names =
        volumes::validate(meta::items(spec, &["volumes"]), &path.child("volumes"), errors);
    let mut context = Context::new(spec, volume_names);
    let main = meta::items(spec, &["containers"]);
    if main.is_empty() {
        errors.push(FieldError::required(path.child("containers"), ""));
    }
    for (list, role) in [
        ("containers", Role::Main),
        ("initContainers", Role::Init),
        ("ephemeralContainers", Role::Ephemeral),
    ] {
        let items = meta::items(spec, &[list]);
        containers::validate(items, role, &path.child(list), &mut context, errors);
    }
    amounts::validate(spec, path, errors);
    check::required_one_of(spec, "restartPolicy", path, &RESTART_POLICIES, errors);
    dns(spec, path, errors);
    rules::check(spec, path, RULES, errors);
    profiles(&spec["securityContext"], &path.child("securityContext"), errors);
    if let Some(seconds) = meta::number(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.push(FieldError::invalid(path.child("activeDeadlineSeconds"), seconds, detail));
    }
    errors.extend(objectmeta::label_map(&spec["nodeSelector"], &path.child("nodeSelector")));
    for (field, problems) in [
        ("serviceAccountName", names::dns1123_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns1123_subdomain),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
    ] {
        check::well_formed(spec, field, path, problems, errors);
    }
    sysctls(spec, &path.child("securityContext").child("sysctls"), errors);
    tolerations(spec, &path.child("tolerations"), errors);
    affinity(&spec["affinity"], &path.child("affinity"), errors);
    spreading(spec, &path.child("topologySpreadConstraints"), errors);
}

/// Which profiles a security context chooses.
pub(crate) fn profiles(context: &Value, path: &FieldPath, errors: &mut Findings) {
    for (field, detail) in [
        ("seccompProfile", "type is required when seccompProfile is set"),
        ("appArmorProfile", "type is required when appArmorProfile is set"),
    ] {
        if let Some(profile) = meta::at(context, &[field]) {
            let chosen = ("type", Must::BeChosen(detail, &PROFILES));
            rules::check(profile, &path.child(field), &[chosen], errors);
        }
    }
}

/// Kernel parameters: segments of letters, digits, `-` and `_`, between dots or slashes.
fn sysctls(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    const LENGTH_MAX: usize = 253;
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_segment = |segment: &str| {
        segment.starts_with(is_edge)
            && segment.ends_with(is_edge)
            && segment.chars().all(|c| is_edge(c) || matches!(c, '-' | '_'))
    };
    let mut seen = BTreeSet::new();
    for (at, sysctl) in meta::items(spec, &["securityContext", "sysctls"]).iter().enumerate() {
        let (name, path) = (meta::text(sysctl, &["name"]), path.index(at).child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if name.len() > LENGTH_MAX || !name.split(['.', '/']).all(is_segment) {
            let detail = "must have at most 253 characters and match regex \
                ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(path, name, detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

fn dns(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    check::required_one_of(spec, "dnsPolicy", path, &DNS_POLICIES, errors);
    let servers = meta::items(spec, &["dnsConfig", "nameservers"]);
    let path = path.child("dnsConfig").child("nameservers");
    if spec["dnsPolicy"] == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(path.clone(), detail));
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(path, servers.to_vec(), detail));
    }
}

pub(crate) fn tolerations(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, toleration) in meta::items(spec, &["tolerations"]).iter().enumerate() {
        let path = path.index(at);
        let text = |field: &str| meta::text(toleration, &[field]);
        check::well_formed(toleration, "key", &path, names::qualified_name, errors);
        if text("key").is_empty() && text("operator") != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(path.child("operator"), text("operator"), detail));
        }
        if meta::at(toleration, &["tolerationSeconds"]).is_some() && text("effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(path.child("effect"), text("effect"), detail));
        }
        match text("operator") {
            "" | "Equal" => {
                for problem in names::label_value(text("value")) {
                    let path = path.child("operator");
                    errors.push(FieldError::invalid(path, text("value"), problem));
                }
            }
            "Exists" if !text("value").is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(path.child("operator"), text("value"), detail));
            }
            "Exists" | "Gt" | "Lt" => {}
            other => {
                let known = ["Equal", "Exists"];
                errors.push(FieldError::not_supported(path.child("operator"), other, &known));
            }
        }
        check::one_of(toleration, "effect", &path, &EFFECTS, errors);
    }
}

fn affinity(affinity: &Value, path: &FieldPath, errors: &mut Findings) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = meta::at(affinity, &["nodeAffinity"]) {
        let path = path.child("nodeAffinity");
        if let Some(required) = meta::at(node, &[REQUIRED]) {
            node_selector(required, &path.child(REQUIRED), errors);
        }
        for (at, preferred) in meta::items(node, &[PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(preferred, &path, errors);
            node_term(&preferred["preference"], &path.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (at, term) in meta::items(affinity, &[kind, REQUIRED]).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(at), errors);
        }
        for (at, preferred) in meta::items(affinity, &[kind, PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(preferred, &path, errors);
            pod_term(&preferred["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &FieldPath, errors: &mut Findings) {
    let weight = meta::number(term, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        let detail = "must be in the range 1-100";
        errors.push(FieldError::invalid(path.child("weight"), weight, detail));
    }
}

pub(crate) fn node_selector(selector: &Value, path: &FieldPath, errors: &mut Findings) {
    let path = path.child("nodeSelectorTerms");
    let terms = meta::items(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        let detail = "must have at least one node selector term";
        errors.push(FieldError::required(path.clone(), detail));
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(term, &path.index(at), errors);
    }
}

fn node_term(term: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, requirement) in meta::items(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(at);
        let values = meta::items(requirement, &["values"]);
        let wrong = match meta::text(requirement, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => Some(FieldError::required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => Some(FieldError::forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => Some(FieldError::required(
                path.child("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => None,
            other => Some(FieldError::invalid(
                path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        };
        errors.extend(wrong);
        let rules: &[Rule] = &[
            ("key", Must::BeGivenFormed(names::qualified_name)),
            ("values[]", Must::BeFormed(names::label_value)),
        ];
        rules::check(requirement, &path, rules, errors);
    }
    for (at, requirement) in meta::items(term, &["matchFields"]).iter().enumerate() {
        node_field(requirement, &path.child("matchFields").index(at), errors);
    }
}

/// A requirement on a node's field, of which there is one.
fn node_field(requirement: &Value, path: &FieldPath, errors: &mut Findings) {
    match meta::text(requirement, &["operator"]) {
        "In" | "NotIn" => {
            if meta::items(requirement, &["values"]).len() != 1 {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(path.child("values"), detail));
            }
        }
        other => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(path.child("operator"), other, detail));
        }
    }
    match meta::text(requirement, &["key"]) {
        "metadata.name" => {
            let rule = ("values[]", Must::BeFormed(names::dns1123_subdomain));
            rules::check(requirement, path, &[rule], errors);
        }
        other => {
            let detail = "not a valid field selector key";
            errors.push(FieldError::invalid(path.child("key"), other, detail));
        }
    }
}

fn pod_term(term: &Value, path: &FieldPath, errors: &mut Findings) {
    errors.extend(selector::validate(&term["labelSelector"], &path.child("labelSelector")));
    // Upstream leaves out which one of the list it is.
    for name in meta::items(term, &["namespaces"]).iter().filter_map(Value::as_str) {
        for problem in names::dns1123_label(name) {
            errors.push(FieldError::invalid(path.child("namespace"), name, problem));
        }
    }
    errors.extend(selector::validate(&term["namespaceSelector"], &path.child("namespaceSelector")));
    if meta::text(term, &["topologyKey"]).is_empty() {
        errors.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
    }
    let rule = ("topologyKey", Must::BeGivenFormed(names::qualified_name));
    rules::check(term, path, &[rule], errors);
}

fn spreading(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
    let constraints = meta::items(spec, &["topologySpreadConstraints"]);
    let pair = |constraint: &Value| {
        let text = |field: &str| meta::text(constraint, &[field]).to_owned();
        (text("topologyKey"), text("whenUnsatisfiable"))
    };
    for (at, constraint) in constraints.iter().enumerate() {
        let path = path.index(at);
        let skew = meta::number(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(path.child("maxSkew"), skew, detail));
        }
        let (key, action) = pair(constraint);
        if key.is_empty() {
            errors.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
        }
        if !ACTIONS.contains(&&*action) {
            let path = path.child("whenUnsatisfiable");
            errors.push(FieldError::not_supported(path, action.as_str(), &ACTIONS));
        }
        // Told of the one that is repeated, not of the repetition.
        if constraints[at + 1..].iter().any(|other| pair(other) == pair(constraint)) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(path, format!("{{{key}, {action}}}")));
        }
        if let Some(domains) = meta::number(constraint, &["minDomains"]) {
            let path = path.child("minDomains");
            if domains <= 0 {
                let detail = "must be greater than zero";
                errors.push(FieldError::invalid(path.clone(), domains, detail));
            }
            if action != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(FieldError::invalid(path, domains, detail));
            }
        }
        let has_keys = !meta::items(constraint, &["matchLabelKeys"]).is_empty();
        if has_keys && meta::at(constraint, &["labelSelector"]).is_none() {
            let detail = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(path.child("matchLabelKeys"), detail));
        }
        let labels = path.child("labelSelector");
        errors.extend(selector::validate(&constraint["labelSelector"], &labels));
    }
}
