//! Rules of pod specifications.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, selector};
use serde_json::Value;

use super::containers::{self, Context, Role};
use super::volumes;
use crate::check::{self, Findings};
use crate::objectmeta;

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// The template of a workload: its labels, annotations and specification.
pub(crate) fn template(template: &Value, path: &FieldPath, errors: &mut Findings) {
    let metadata = path.child("metadata");
    errors.extend(objectmeta::labels(template, &metadata));
    errors.extend(objectmeta::annotations(template, &metadata));
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
    let mut context = Context::new(volume_names, meta::is_true(spec, &["hostNetwork"]));
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
    check::required_one_of(spec, "restartPolicy", path, &RESTART_POLICIES, errors);
    dns(spec, path, errors);
    check::not_negative(spec, "terminationGracePeriodSeconds", path, errors);
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
    for (at, alias) in meta::items(spec, &["hostAliases"]).iter().enumerate() {
        ip(alias, "ip", &path.child("hostAliases").index(at), errors);
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

/// A text, where present, must be an IP address.
pub(crate) fn ip(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    let text = meta::text(object, &[field]);
    if !text.is_empty() && text.parse::<std::net::IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path.child(field), text, detail));
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

fn tolerations(spec: &Value, path: &FieldPath, errors: &mut Findings) {
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
                check::well_formed(toleration, "value", &path, names::label_value, errors)
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
            let path = path.child(REQUIRED).child("nodeSelectorTerms");
            let terms = meta::items(required, &["nodeSelectorTerms"]);
            if terms.is_empty() {
                let detail = "must have at least one node selector term";
                errors.push(FieldError::required(path.clone(), detail));
            }
            for (at, term) in terms.iter().enumerate() {
                node_term(term, &path.index(at), errors);
            }
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

fn node_term(term: &Value, path: &FieldPath, errors: &mut Findings) {
    for list in ["matchExpressions", "matchFields"] {
        for (at, requirement) in meta::items(term, &[list]).iter().enumerate() {
            let path = path.child(list).index(at);
            let values = meta::items(requirement, &["values"]).len();
            let wrong = match meta::text(requirement, &["operator"]) {
                "In" | "NotIn" if values == 0 => FieldError::required(
                    path.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ),
                "Exists" | "DoesNotExist" if values > 0 => FieldError::forbidden(
                    path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
                "Gt" | "Lt" if values != 1 => FieldError::required(
                    path.child("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                ),
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => continue,
                other => FieldError::invalid(
                    path.child("operator"),
                    other,
                    "not a valid selector operator",
                ),
            };
            errors.push(wrong);
        }
    }
}

fn pod_term(term: &Value, path: &FieldPath, errors: &mut Findings) {
    errors.extend(selector::validate(&term["labelSelector"], &path.child("labelSelector")));
    match meta::text(term, &["topologyKey"]) {
        "" => errors.push(FieldError::required(path.child("topologyKey"), "can not be empty")),
        _ => check::well_formed(term, "topologyKey", path, names::qualified_name, errors),
    }
}

fn spreading(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, constraint) in meta::items(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.index(at);
        let skew = meta::number(constraint, &["maxSkew"]).unwrap_or_default();
        if skew <= 0 {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(path.child("maxSkew"), skew, detail));
        }
        if meta::text(constraint, &["topologyKey"]).is_empty() {
            errors.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        check::required_one_of(constraint, "whenUnsatisfiable", &path, &actions, errors);
        let labels = path.child("labelSelector");
        errors.extend(selector::validate(&constraint["labelSelector"], &labels));
    }
}
