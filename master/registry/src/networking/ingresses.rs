//! `networking.k8s.io/v1/ingresses`.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
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

impl Strategy for Ingresses {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
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
        for (at, rule) in rules.iter().enumerate() {
            let path = path.child("rules").index(at);
            let host = meta::text(rule, &["host"]);
            let plain = host.strip_prefix("*.").unwrap_or(host);
            if !plain.is_empty() {
                for problem in names::dns1123_subdomain(plain) {
                    errors.push(FieldError::invalid(path.child("host"), host, problem));
                }
            }
            for (at, rule) in meta::items(rule, &["http", "paths"]).iter().enumerate() {
                let path = path.child("http").child("paths").index(at);
                let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
                if meta::text(rule, &["pathType"]).is_empty() {
                    let detail = "pathType must be specified";
                    errors.push(FieldError::required(path.child("pathType"), detail));
                }
                check::one_of(rule, "pathType", &path, &kinds, &mut errors);
                let text = meta::text(rule, &["path"]);
                let may_be_empty = rule["pathType"] == "ImplementationSpecific";
                if !text.starts_with('/') && (!text.is_empty() || !may_be_empty) {
                    let detail = "must be an absolute path";
                    errors.push(FieldError::invalid(path.child("path"), text, detail));
                }
                backend(&rule["backend"], &path.child("backend"), &mut errors);
            }
        }
        errors
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
            errors.push(FieldError::required(
                path.clone(),
                "service or resource backend is required",
            ));
        }
        (true, false) => {
            let path = path.child("service");
            check::named(&backend["service"], "name", &path, names::dns1035_label, errors);
            let port = &backend["service"]["port"];
            if meta::at(port, &["number"]).is_none() && meta::text(port, &["name"]).is_empty() {
                errors.push(FieldError::required(path, "port name or number is required"));
            }
        }
        (false, true) => {
            check::required(&backend["resource"], "kind", &path.child("resource"), errors)
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
            .validate(&ingress(json!({"path": "x", "backend": {}})), None)
            .into_iter()
            .map(|error| error.field)
            .collect();
        let base = "spec.rules[0].http.paths[0]";
        assert_eq!(
            fields,
            [format!("{base}.pathType"), format!("{base}.path"), format!("{base}.backend")]
        );
        let row = Ingresses.row(&good, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(row, ["", "<none>", "a.b", "", "80", "<unknown>"]);
    }
}
