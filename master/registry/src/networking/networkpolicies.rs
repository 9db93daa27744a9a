//! `networking.k8s.io/v1/networkpolicies`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::selector::{self, LabelSelector};
use master_api::status::FieldError;
use serde_json::{Map, Value, json};

use crate::check::{self, Findings};
use crate::fill::{absent, made, objects};
use crate::rules::{self, Must, Rule};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct NetworkPolicies;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Pod-Selector", |policy, _| {
        let selector = LabelSelector::from_json(&policy["spec"]["podSelector"]);
        match selector.map(|selector| selector.to_string()) {
            Ok(text) if text.is_empty() => "<none>".into(),
            Ok(text) => text.into(),
            Err(_) => "<error>".into(),
        }
    }),
    Cell::AGE,
];

impl Strategy for NetworkPolicies {
    fn shape(&self) -> Shape {
        Shape { generation: true, ..Shape::default() }
    }

    fn default(&self, policy: &mut Value) {
        let Some(fields) = policy.as_object_mut() else { return };
        let spec = made(fields, "spec");
        for list in ["ingress", "egress"] {
            for rule in objects(spec, list) {
                for port in objects(rule, "ports") {
                    absent(port, "protocol", "TCP");
                }
            }
        }
        policy_types(spec);
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        let pods = path.child("podSelector");
        errors.extend(selector::validate(&new["spec"]["podSelector"], &pods));
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            for (at, rule) in meta::items(new, &["spec", list]).iter().enumerate() {
                let path = path.child(list).index(at);
                for (at, port) in meta::items(rule, &["ports"]).iter().enumerate() {
                    let path = path.child("ports").index(at);
                    let known = Must::BeOneOf(&["TCP", "UDP", "SCTP"]);
                    rules::check(port, &path, &[("protocol", known)], &mut errors);
                    if let Some(port) = meta::at(port, &["port"]) {
                        check::port_or_name(port, &path.child("port"), &mut errors);
                    }
                    end_port(port, &path, &mut errors);
                }
                for (at, found) in meta::items(rule, &[peers]).iter().enumerate() {
                    peer(found, &path.child(peers).index(at), &mut errors);
                }
            }
        }
        let kinds = meta::items(new, &["spec", "policyTypes"]);
        let place = path.child("policyTypes");
        if kinds.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid(place, kinds.to_vec(), detail));
            return errors;
        }
        for (at, kind) in kinds.iter().enumerate() {
            if kind != "Ingress" && kind != "Egress" {
                let known = ["Ingress", "Egress"];
                errors.push(FieldError::not_supported(place.index(at), kind.clone(), &known));
            }
        }
        errors
    }

    tabled!(CELLS);
}

fn policy_types(spec: &mut Map<String, Value>) {
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    absent(spec, "policyTypes", types);
}

/// The last of several ports.
fn end_port(port: &Value, path: &FieldPath, errors: &mut Findings) {
    let Some(end) = meta::number(port, &["endPort"]) else { return };
    let place = path.child("endPort");
    match &port["port"] {
        Value::Number(first) if first.as_i64().is_some_and(|first| end < first) => {
            // Upstream shows the first port here.
            let detail = "must be greater than or equal to `port`";
            errors.push(FieldError::invalid(place.clone(), port["port"].clone(), detail));
        }
        Value::Null => {
            let detail = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(place.clone(), end, detail));
        }
        Value::String(_) => {
            let detail = "may not be specified when `port` is non-numeric";
            errors.push(FieldError::invalid(place.clone(), end, detail));
        }
        _ => {}
    }
    if !(1..=65535).contains(&end) {
        let detail = "must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(place, end, detail));
    }
}

fn peer(peer: &Value, path: &FieldPath, errors: &mut Findings) {
    let selectors = ["podSelector", "namespaceSelector"];
    let has = |field: &str| meta::at(peer, &[field]).is_some();
    for field in selectors {
        errors.extend(selector::validate(&peer[field], &path.child(field)));
    }
    if !has("ipBlock") {
        if !selectors.into_iter().any(has) {
            errors.push(FieldError::required(path.clone(), "must specify a peer"));
        }
        return;
    }
    if selectors.into_iter().any(has) {
        let detail = "may not specify both ipBlock and another peer";
        errors.push(FieldError::forbidden(path.clone(), detail));
    }
    let block = path.child("ipBlock");
    let cidr = meta::text(peer, &["ipBlock", "cidr"]);
    if cidr.is_empty() {
        errors.push(FieldError::required(block.child("cidr"), ""));
    }
    let rules: &[Rule] =
        &[("cidr", Must::BeFormedIfAny(rules::range)), ("except[]", Must::BeFormed(rules::range))];
    rules::check(&peer["ipBlock"], &block, rules, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_was_taken_before_stays_until_it_is_changed() {
        let policy = |cidr: &str| {
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "n"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]}})
        };
        let all = crate::builtin();
        let resource = all.iter().find(|it| it.kind == "NetworkPolicy").unwrap();
        let refused = |new: &str, old: Option<&str>| {
            !resource.validate(&policy(new), old.map(policy).as_ref()).is_empty()
        };
        assert!(refused("10.0.0.5/24", None));
        assert!(!refused("10.0.0.5/24", Some("10.0.0.5/24")));
        assert!(refused("10.0.0.6/24", Some("10.0.0.5/24")));
        assert!(refused("10.0.0.0/33", Some("10.0.0.0/33")), "no range at all is none ever");
    }

    #[test]
    fn types_follow_from_the_rules() {
        let mut policy =
            json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}});
        NetworkPolicies.default(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(NetworkPolicies.validate(&policy, None), []);
        let wrong =
            json!({"spec": {"ingress": [{"from": [{}, {"ipBlock": {"cidr": "10.0.0.0"}}]}]}});
        let fields: Vec<String> =
            NetworkPolicies.validate(&wrong, None).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["spec.ingress[0].from[0]", "spec.ingress[0].from[1].ipBlock.cidr"]);
    }
}
