//! `networking.k8s.io/v1/ingresses`.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::rules::{self, Must, Rule};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, or_none, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Ingresses;

const HOSTS_MAX: usize = 3;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Class", |ingress, _| or_none(ingress, &["spec", "ingressClassName"])),
    Cell::text("Hosts", |ingress, _| hosts(ingress).into()),
    Cell::text("Address", |ingress, _| address(ingress).into()),
    Cell::text("Ports", |ingress, _| {
        if meta::items(ingress, &["spec", "tls"]).is_empty() {
            "80".into()
        } else {
            "80, 443".into()
        }
    }),
    Cell::AGE,
];

fn hosts(ingress: &Value) -> String {
    let rules = meta::items(ingress, &["spec", "rules"]);
    let named: Vec<&str> = rules
        .iter()
        .map(|rule| meta::text(rule, &["host"]))
        .filter(|host| !host.is_empty())
        .collect();
    match named.len() {
        0 => "*".to_owned(),
        count if count > HOSTS_MAX => {
            format!("{} + {} more...", named[..HOSTS_MAX].join(","), rules.len() - HOSTS_MAX)
        }
        _ => named.join(","),
    }
}

fn address(ingress: &Value) -> String {
    let entries = meta::items(ingress, &["status", "loadBalancer", "ingress"]).iter();
    let addresses: BTreeSet<&str> = entries
        .map(|entry| match meta::text(entry, &["ip"]) {
            "" => meta::text(entry, &["hostname"]),
            ip => ip,
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("ingressClassName", Must::BeFormed(names::dns1123_subdomain)),
    ("tls[].hosts[]", Must::BeFormed(host)),
    ("tls[].secretName", Must::BeFormedIfAny(names::dns1123_subdomain)),
];

/// A host, or all hosts below a domain.
fn host(name: &str) -> Vec<String> {
    names::dns1123_subdomain(name.strip_prefix("*.").unwrap_or(name))
}

impl Strategy for Ingresses {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        crate::statuses::load_balancer(new, false)
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        let rules = meta::items(new, &["spec", "rules"]);
        let fallback = meta::at(new, &["spec", "defaultBackend"]);
        if rules.is_empty() && fallback.is_none() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid(path.clone(), new["spec"]["rules"].clone(), detail));
        }
        if let Some(found) = fallback {
            backend(found, &path.child("defaultBackend"), &mut errors);
        }
        rules::check(&new["spec"], &path, RULES, &mut errors);
        for (at, rule) in rules.iter().enumerate() {
            let path = path.child("rules").index(at);
            let host = meta::text(rule, &["host"]);
            let plain = host.strip_prefix("*.").unwrap_or(host);
            if !plain.is_empty() {
                for problem in names::dns1123_subdomain(plain) {
                    errors.push(FieldError::invalid(path.child("host"), host, problem));
                }
            }
            let paths = meta::items(rule, &["http", "paths"]);
            if meta::at(rule, &["http"]).is_some() && paths.is_empty() {
                errors.push(FieldError::required(path.child("http").child("paths"), ""));
            }
            for (at, rule) in paths.iter().enumerate() {
                let path = path.child("http").child("paths").index(at);
                const KINDS: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
                let Some(kind) = meta::at(rule, &["pathType"]).and_then(Value::as_str) else {
                    let detail = "pathType must be specified";
                    errors.push(FieldError::required(path.child("pathType"), detail));
                    continue;
                };
                if !KINDS.contains(&kind) {
                    errors.push(FieldError::not_supported(path.child("pathType"), kind, &KINDS));
                }
                let text = meta::text(rule, &["path"]);
                let may_be_empty = rule["pathType"] == "ImplementationSpecific";
                let is_known = KINDS.contains(&kind);
                if is_known && !text.starts_with('/') && (!text.is_empty() || !may_be_empty) {
                    let detail = "must be an absolute path";
                    errors.push(FieldError::invalid(path.child("path"), text, detail));
                }
                backend(&rule["backend"], &path.child("backend"), &mut errors);
            }
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let is_old_way = !meta::annotation(new, "kubernetes.io/ingress.class").is_empty();
        let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        if is_old_way && old.is_none() { vec![text.to_owned()] } else { Vec::new() }
    }

    tabled!(CELLS);
}

fn backend(backend: &Value, path: &FieldPath, errors: &mut Findings) {
    let has = |field: &str| meta::at(backend, &[field]).is_some();
    match (has("service"), has("resource")) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path.clone(), "", detail));
        }
        (false, false) => {
            let detail = "resource or service backend is required";
            errors.push(FieldError::invalid(path.clone(), "", detail));
        }
        (true, false) => {
            let place = path.child("service");
            check::named(&backend["service"], "name", &place, names::dns1123_label, errors);
            let port = &backend["service"]["port"];
            let number = meta::number(port, &["number"]).filter(|number| *number != 0);
            match (number, meta::text(port, &["name"])) {
                (None, "") => {
                    let detail = "port name or number is required";
                    errors.push(FieldError::required(path.clone(), detail));
                }
                (Some(_), "") => check::port(port, "number", &place.child("port"), errors),
                (None, _) => {
                    let place = place.child("port");
                    check::well_formed(port, "name", &place, names::port_name, errors);
                }
                (Some(_), _) => {
                    let detail = "cannot set both port name & port number";
                    errors.push(FieldError::invalid(path.clone(), "", detail));
                }
            }
        }
        (false, true) => {
            let rules: &[Rule] = &[
                ("apiGroup", Must::BeFormed(names::dns1123_subdomain)),
                ("kind", Must::BeThere("")),
                ("name", Must::BeThere("")),
            ];
            rules::check(&backend["resource"], &path.child("resource"), rules, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_have_a_type_and_a_backend() {
        let ingress =
            |path: Value| json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [path]}}]}});
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        let good = ingress(json!({"path": "/", "pathType": "Prefix", "backend": service}));
        assert_eq!(Ingresses.validate(&good, None), []);
        let fields: Vec<String> = Ingresses
            .validate(&ingress(json!({"path": "x", "pathType": "Exact", "backend": {}})), None)
            .into_iter()
            .map(|error| error.field)
            .collect();
        let base = "spec.rules[0].http.paths[0]";
        assert_eq!(fields, [format!("{base}.path"), format!("{base}.backend")]);
        let row = Ingresses.row(&good, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(row, ["", "<none>", "a.b", "", "80", "<unknown>"]);
    }
}
