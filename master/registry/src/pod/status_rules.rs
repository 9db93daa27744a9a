//! What the status of a pod must be like.

use std::net::IpAddr;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use crate::check::{self, Findings};
use crate::rules::{self, ID, Must, Rule};

/// What is wrong with a written status.
pub(crate) fn validate(new: &Value, old: &Value) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("status");
    let text = |pod: &'_ Value, place: &[&str]| meta::text(pod, place).to_owned();
    if text(new, &["spec", "nodeName"]) != text(old, &["spec", "nodeName"]) {
        let detail = "may not be changed directly";
        errors.push(FieldError::forbidden("status.nodeName", detail));
    }
    let rules: &[Rule] = &[("nominatedNodeName", Must::BeFormedIfAny(names::dns1123_subdomain))];
    rules::check(&new["status"], &path, rules, &mut errors);
    claims(new, &path, &mut errors);
    class(new, old, &path, &mut errors);
    addresses(new, "podIPs", &path, &mut errors);
    hosts(new, &path, &mut errors);
    generation(&new["status"], &path, &mut errors);
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for (at, container) in meta::items(new, &["status", list]).iter().enumerate() {
            of_container(container, &path.child(list).index(at), &mut errors);
        }
    }
    for (at, condition) in meta::items(new, &["status", "conditions"]).iter().enumerate() {
        let path = path.child("conditions").index(at);
        // Upstream writes this one as its Go field.
        let kind = meta::text(condition, &["type"]);
        let problems = names::qualified_name(kind).into_iter();
        errors.extend(problems.map(|it| FieldError::invalid(path.child("Type"), kind, it)));
        generation(condition, &path, &mut errors);
    }
    errors
}

fn generation(object: &Value, path: &FieldPath, errors: &mut Findings) {
    let seen = meta::number(object, &["observedGeneration"]).unwrap_or_default();
    if seen < 0 {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(path.child("observedGeneration"), seen, detail));
    }
}

/// The class is the server's. A node that reports a status may leave it out.
fn class(new: &Value, old: &Value, path: &FieldPath, errors: &mut Findings) {
    let (is, was) = (&new["status"]["qosClass"], &old["status"]["qosClass"]);
    if !was.is_null() && is != was {
        errors.push(FieldError::invalid(path.child("qosClass"), is.clone(), check::IMMUTABLE));
    }
}

/// One address of each family.
fn addresses(pod: &Value, list: &str, path: &FieldPath, errors: &mut Findings) {
    let path = path.child(list);
    let all = meta::items(pod, &["status", list]);
    let mut parsed = Vec::new();
    for (at, entry) in all.iter().enumerate() {
        let text = meta::text(entry, &["ip"]);
        match text.parse::<IpAddr>() {
            Ok(address) => parsed.push(address.is_ipv4()),
            Err(_) => errors.extend(
                rules::address(text)
                    .into_iter()
                    .map(|problem| FieldError::invalid(path.index(at), text, problem)),
            ),
        }
    }
    if all.len() > 2 || matches!(parsed[..], [first, second] if first == second) {
        let shown: Vec<Value> = all.iter().map(|entry| json!({"IP": entry["ip"]})).collect();
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, shown, detail));
    }
}

/// The node's addresses, of which the first is the one of the old field.
fn hosts(pod: &Value, path: &FieldPath, errors: &mut Findings) {
    let all = meta::items(pod, &["status", "hostIPs"]);
    let first = meta::text(pod, &["status", "hostIP"]);
    if let Some(one) = all.first().map(|entry| meta::text(entry, &["ip"]))
        && one != first
    {
        let place = path.child("hostIPs").index(0).child("ip");
        errors.push(FieldError::invalid(place, one, "must be equal to `hostIP`"));
    }
    addresses(pod, "hostIPs", path, errors);
}

/// Which claims for devices were made for the pod.
fn claims(pod: &Value, path: &FieldPath, errors: &mut Findings) {
    let path = path.child("resourceClaimStatuses");
    let wanted = meta::items(pod, &["spec", "resourceClaims"]);
    let all = meta::items(pod, &["status", "resourceClaimStatuses"]);
    for (at, claim) in all.iter().enumerate() {
        let path = path.index(at);
        let name = meta::text(claim, &["name"]);
        if !wanted.iter().any(|it| meta::text(it, &["name"]) == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(path.child("name"), name, detail));
        }
        if all[..at].iter().any(|before| meta::text(before, &["name"]) == name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let rule = ("resourceClaimName", Must::BeFormed(names::dns1123_subdomain));
        rules::check(claim, &path, &[rule], errors);
    }
}

fn of_container(container: &Value, path: &FieldPath, errors: &mut Findings) {
    let user: &[Rule] =
        &[("user.linux.uid", ID), ("user.linux.gid", ID), ("user.linux.supplementalGroups[]", ID)];
    rules::check(container, path, user, errors);
    let devices = meta::items(container, &["allocatedResourcesStatus"]);
    for (at, device) in devices.iter().enumerate() {
        let path = path.child("allocatedResourcesStatus").index(at).child("resources");
        for (at, part) in meta::items(device, &["resources"]).iter().enumerate() {
            let known = ["Healthy", "Unhealthy", "Unknown"];
            check::one_of(part, "health", &path.index(at), &known, errors);
        }
        let rule = ("", Must::DifferIn("resourceID"));
        rules::check(&device["resources"], &path, &[rule], errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn statuses_are_refused_as_upstream_refuses_them() {
        let old = json!({"spec": {}, "status": {"phase": "Pending", "qosClass": "BestEffort"}});
        let found = |status: Value| -> Vec<String> {
            let mut new = old.clone();
            new["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
            validate(&new, &old).iter().map(ToString::to_string).collect()
        };
        let one_each = "may specify no more than one IP for each IP family";
        #[rustfmt::skip]
        let cases = [
            (json!({"podIPs": [{"ip": "::1"}, {"ip": "1.1.1.1"}]}), vec![]),
            (json!({"hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.1"}]}), vec![]),
            (json!({"podIPs": [{"ip": "x"}]}), vec!["status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]),
            (json!({"podIPs": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}]}), vec![format!("status.podIPs: Invalid value: [{{\"IP\":\"1.1.1.1\"}},{{\"IP\":\"1.1.1.2\"}}]: {one_each}")]),
            (json!({"hostIPs": [{"ip": "1.1.1.1"}]}), vec!["status.hostIPs[0].ip: Invalid value: \"1.1.1.1\": must be equal to `hostIP`".to_owned()]),
            (json!({"qosClass": "Guaranteed"}), vec!["status.qosClass: Invalid value: \"Guaranteed\": field is immutable".to_owned()]),
            (json!({"observedGeneration": -1}), vec!["status.observedGeneration: Invalid value: -1: must be a non-negative integer".to_owned()]),
            (json!({"resourceClaimStatuses": [{"name": "x"}]}), vec!["status.resourceClaimStatuses[0].name: Invalid value: \"x\": must match the name of an entry in `spec.resourceClaims`".to_owned()]),
            (json!({"containerStatuses": [{"user": {"linux": {"uid": -1, "gid": 0}}}]}), vec!["status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive".to_owned()]),
            (json!({"conditions": [{"type": "A", "observedGeneration": -1}]}), vec!["status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer".to_owned()]),
        ];
        for (status, expected) in cases {
            assert_eq!(found(status.clone()), expected, "{status}");
        }
        assert_eq!(found(json!({"conditions": [{"type": ""}]})).len(), 2);
    }
}
