//! What the statuses of kinds must be like beyond their types: counts, conditions, addresses.
//!
//! Whoever writes a status is trusted with its meaning; refused is only what upstream refuses.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::rules::{self, ID, Must, Rule};

const REASON_BYTES_MAX: usize = 1 << 10;
const MESSAGE_BYTES_MAX: usize = 32 << 10;
const STATES: [&str; 3] = ["False", "True", "Unknown"];

fn checked(object: &Value, rules: &[Rule]) -> Findings {
    let mut errors = Vec::new();
    rules::check(&object["status"], &FieldPath::new("status"), rules, &mut errors);
    errors
}

/// Of an autoscaler, in either version.
pub(crate) fn autoscaler(new: &Value, _old: &Value) -> Findings {
    checked(
        new,
        &[("currentReplicas", Must::NotBeNegative), ("desiredReplicas", Must::NotBeNegative)],
    )
}

pub(crate) fn disruption_budget(new: &Value) -> Findings {
    let mut errors = conditions(new);
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    errors.extend(checked(new, &counts.map(|field| (field, Must::NotBeNegative))));
    errors
}

pub(crate) fn admission_policy(new: &Value, _old: &Value) -> Findings {
    let mut errors = conditions(new);
    let warnings = meta::items(new, &["status", "typeChecking", "expressionWarnings"]);
    for (at, warning) in warnings.iter().enumerate() {
        let path = FieldPath::new("status.typeChecking.expressionWarnings").index(at);
        check::required(warning, "warning", &path, &mut errors);
        check::required(warning, "fieldRef", &path, &mut errors);
    }
    errors
}

pub(crate) fn api_service(new: &Value, _old: &Value) -> Findings {
    checked(new, &[("conditions[].status", Must::BeGivenOneOf(&["True", "False", "Unknown"]))])
}

/// Of the kinds that share out requests.
pub(crate) fn flow_control(new: &Value, _old: &Value) -> Findings {
    checked(
        new,
        &[("conditions", Must::DifferIn("type")), ("conditions[].type", Must::BeThere(""))],
    )
}

pub(crate) fn volume_attachment(new: &Value, _old: &Value) -> Findings {
    checked(new, &[("attachError.errorCode", ID), ("detachError.errorCode", ID)])
}

/// What stands before a service or an ingress. `has_modes`: whether addresses say how they are reached.
pub(crate) fn load_balancer(new: &Value, has_modes: bool) -> Findings {
    let mut errors = Vec::new();
    for (at, entry) in meta::items(new, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let path = FieldPath::new("status.loadBalancer.ingress").index(at);
        let has_ip = !meta::text(entry, &["ip"]).is_empty();
        rules::check(entry, &path, &[("ip", Must::BeFormedIfAny(rules::address))], &mut errors);
        match meta::at(entry, &["ipMode"]).filter(|_| has_modes) {
            Some(_) if !has_ip => {
                let detail = "may not be specified when `ip` is not set";
                errors.push(FieldError::forbidden(path.child("ipMode"), detail));
            }
            Some(_) => check::one_of(entry, "ipMode", &path, &["Proxy", "VIP"], &mut errors),
            None => {}
        }
        let host = meta::text(entry, &["hostname"]);
        check::well_formed(entry, "hostname", &path, names::dns1123_subdomain, &mut errors);
        if host.parse::<std::net::IpAddr>().is_ok() {
            let detail = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(path.child("hostname"), host, detail));
        }
    }
    errors
}

const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// What a claim has, and what of it is being made larger.
pub(crate) fn volume_claim(new: &Value, _old: &Value) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("status");
    let entries = |field: &str| new["status"][field].as_object().into_iter().flatten();
    let amount = |path: FieldPath, amount: &Value, errors: &mut Findings| {
        let parsed = master_api::quantity::Quantity::from_json(amount);
        if let Some(parsed) = parsed.filter(|parsed| parsed.is_negative()) {
            let detail = "must be a valid resource quantity";
            let shown = serde_json::from_str::<Value>(&parsed.to_string());
            errors.push(FieldError::invalid(
                path,
                shown.unwrap_or_else(|_| amount.clone()),
                detail,
            ));
        }
    };
    // Names of others' have a domain.
    let is_known = |name: &str| name == "storage" || name.contains('/');
    for (name, value) in entries("capacity") {
        amount(path.child("capacity").key(name), value, &mut errors);
    }
    for (name, value) in entries("allocatedResources") {
        let path = path.child("allocatedResources");
        if is_known(name) {
            amount(path.key(name), value, &mut errors);
        } else {
            errors.push(FieldError::not_supported(path, name.as_str(), &["storage"]));
        }
    }
    for (name, value) in entries("allocatedResourceStatuses") {
        let path = path.child("allocatedResourceStatuses");
        if !is_known(name) {
            errors.push(FieldError::not_supported(path.clone(), name.as_str(), &["storage"]));
        }
        // Upstream names the resource in place of its state.
        if !RESIZES.iter().any(|known| value == known) {
            errors.push(FieldError::not_supported(path, name.as_str(), &RESIZES));
        }
    }
    errors
}

/// Conditions as upstream's library has them (`metav1.Condition`).
pub(crate) fn conditions(object: &Value) -> Findings {
    let path = FieldPath::new("status").child("conditions");
    conditions_at(meta::items(object, &["status", "conditions"]), &path)
}

/// The same, wherever they are.
pub(crate) fn conditions_at(all: &[Value], path: &FieldPath) -> Findings {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, condition) in all.iter().enumerate() {
        let path = path.index(at);
        let kind = meta::text(condition, &["type"]);
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(path.child("type"), kind));
        }
        let rules: &[Rule] = &[
            ("type", Must::BeGivenFormed(names::qualified_name)),
            ("status", Must::BeGivenOneOf(&STATES)),
        ];
        rules::check(condition, &path, rules, &mut errors);
        let generation = meta::number(condition, &["observedGeneration"]).unwrap_or_default();
        if generation < 0 {
            let detail = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(path.child("observedGeneration"), generation, detail));
        }
        check::required(condition, "lastTransitionTime", &path, &mut errors);
        let rules: &[Rule] = &[
            ("reason", Must::BeThereFormed(reason)),
            ("reason", Must::BeShort(REASON_BYTES_MAX)),
            ("message", Must::BeShort(MESSAGE_BYTES_MAX)),
        ];
        rules::check(condition, &path, rules, &mut errors);
    }
    errors
}

/// A word for machines.
fn reason(text: &str) -> Vec<String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(is_inner)
        && !text.ends_with([',', ':']);
    if is_word {
        return Vec::new();
    }
    vec!["a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')".to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(findings: Findings) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn statuses_are_refused_as_upstream_refuses_them() {
        let check = |rules: fn(&Value, &Value) -> Findings, status: Value, expected: &[&str]| {
            let object = json!({"spec": {}, "status": status});
            assert_eq!(said(rules(&object, &Value::Null)), expected, "{status}");
        };
        check(
            autoscaler,
            json!({"currentReplicas": -1}),
            &["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            volume_attachment,
            json!({"detachError": {"errorCode": -1}}),
            &[
                "status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ],
        );
        check(
            flow_control,
            json!({"conditions": [{"type": "A"}, {"type": "A"}]}),
            &["status.conditions[1].type: Duplicate value: \"A\""],
        );
        check(
            api_service,
            json!({"conditions": [{"type": "A", "status": "x"}]}),
            &[
                "status.conditions[0].status: Unsupported value: \"x\": supported values: \"True\", \"False\", \"Unknown\"",
            ],
        );
        check(
            admission_policy,
            json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "", "warning": ""}]}}),
            &[
                "status.typeChecking.expressionWarnings[0].warning: Required value",
                "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
            ],
        );
        check(
            volume_claim,
            json!({"capacity": {"storage": "-1"}}),
            &["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"],
        );
        check(
            volume_claim,
            json!({"allocatedResources": {"foo": "1"}}),
            &[
                "status.allocatedResources: Unsupported value: \"foo\": supported values: \"storage\"",
            ],
        );
        check(
            volume_claim,
            json!({"allocatedResourceStatuses": {"storage": "NodeResizePending"}}),
            &[],
        );
    }

    #[test]
    fn balancers_have_addresses_or_names() {
        let found = |entry: Value| {
            said(load_balancer(&json!({"status": {"loadBalancer": {"ingress": [entry]}}}), true))
        };
        assert_eq!(found(json!({"ip": "1.1.1.1", "ipMode": "VIP"})), [""; 0]);
        assert_eq!(
            found(json!({"hostname": "1.1.1.1"})),
            [
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.1.1.1\": must be a DNS name, not an IP address"
            ]
        );
        assert_eq!(
            found(json!({"ip": "1.1.1.1", "ipMode": "x"})),
            [
                "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"x\": supported values: \"Proxy\", \"VIP\""
            ]
        );
        assert_eq!(
            found(json!({"ip": "x"})),
            [
                "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ]
        );
    }

    #[test]
    fn conditions_are_whole_and_told_once() {
        let whole = json!({"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let found = |conditions: Value| said(conditions_of(&conditions));
        fn conditions_of(all: &Value) -> Findings {
            conditions(&json!({"status": {"conditions": all}}))
        }
        assert_eq!(found(json!([whole])), [""; 0]);
        assert_eq!(
            found(json!([whole, whole])),
            ["status.conditions[1].type: Duplicate value: \"A\""]
        );
        let bare = [
            "status.conditions[0].status: Unsupported value: \"x\": supported values: \"False\", \"True\", \"Unknown\"",
            "status.conditions[0].lastTransitionTime: Required value",
            "status.conditions[0].reason: Required value",
        ];
        assert_eq!(found(json!([{"type": "A", "status": "x"}])), bare);
        assert!(
            !reason("R e").is_empty()
                && !reason("R:").is_empty()
                && reason("ReasonA,ReasonB").is_empty()
        );
    }
}
