//! `networking.k8s.io/v1`.

pub mod ingresses;
pub mod networkpolicies;

use std::net::IpAddr;

use ipnet::IpNet;
use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::fill::{absent, made, object};
use crate::plain::Plain;
use crate::rules::{self, Must, Rule};
use crate::table::{Cell, or};

pub const INGRESS_CLASSES: Plain =
    Plain::bare().generation().default(ingress_class).validate(class_rules).cells(&[
        Cell::text("Name", |class, _| {
            default_name(class, "ingressclass.kubernetes.io/is-default-class").into()
        }),
        Cell::text("Controller", |class, _| or(class, &["spec", "controller"], "")),
        Cell::text("Parameters", |class, _| parameters(class).into()),
        Cell::AGE,
    ]);
pub const IP_ADDRESSES: Plain = Plain::bare()
    .path_names()
    .validate(address_rules)
    .selectable(&[
        ("spec.parentRef.group", &["spec", "parentRef", "group"]),
        ("spec.parentRef.resource", &["spec", "parentRef", "resource"]),
        ("spec.parentRef.namespace", &["spec", "parentRef", "namespace"]),
        ("spec.parentRef.name", &["spec", "parentRef", "name"]),
    ])
    .cells(&[
        Cell::NAME,
        Cell::text("ParentRef", |address, _| {
            let text = |field: &str| meta::text(address, &["spec", "parentRef", field]);
            let parts = [text("resource"), text("namespace"), text("name")];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/").into()
        }),
    ]);
pub const SERVICE_CIDRS: Plain = Plain::bare().status().validate(range_rules).cells(&[
    Cell::NAME,
    Cell::text("CIDRs", |range, _| {
        let cidrs = meta::items(range, &["spec", "cidrs"]).iter().filter_map(Value::as_str);
        cidrs.collect::<Vec<_>>().join(",").into()
    }),
    Cell::AGE,
]);

/// `name (default)` where an annotation says so.
pub(crate) fn default_name(object: &Value, annotation: &str) -> String {
    let mark = if meta::annotation(object, annotation) == "true" { " (default)" } else { "" };
    format!("{}{mark}", meta::name(object))
}

fn parameters(class: &Value) -> String {
    let Some(reference) = meta::at(class, &["spec", "parameters"]) else {
        return "<none>".to_owned();
    };
    let text = |field: &str| meta::text(reference, &[field]);
    match text("apiGroup") {
        "" => format!("{}/{}", text("kind"), text("name")),
        group => format!("{}.{group}/{}", text("kind"), text("name")),
    }
}

fn ingress_class(class: &mut Value) {
    let Some(fields) = class.as_object_mut() else { return };
    if let Some(parameters) = object(made(fields, "spec"), "parameters") {
        absent(parameters, "scope", "Cluster");
    }
}

const CLASS_RULES: &[Rule] = &[
    ("spec.controller", Must::BeThere("")),
    ("spec.controller", Must::BeShort(250)),
    ("spec.controller", Must::BeFormedIfAny(rules::domain_path)),
    ("spec.parameters.apiGroup", Must::BeFormed(names::dns1123_subdomain)),
    ("spec.parameters.kind", Must::BeThere("")),
    ("spec.parameters.name", Must::BeThere("")),
    ("spec.parameters.scope", Must::BeOneOf(&["Cluster", "Namespace"])),
    ("spec.parameters.namespace", Must::BeFormed(names::dns1123_label)),
];

/// A class has a controller, and keeps it; parameters are in a namespace or not.
fn class_rules(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    rules::check(new, &FieldPath::default(), CLASS_RULES, &mut errors);
    let parameters = &new["spec"]["parameters"];
    let path = FieldPath::new("spec.parameters.namespace");
    match (meta::text(parameters, &["scope"]), meta::at(parameters, &["namespace"])) {
        ("Namespace", None) => {
            let detail = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(path, detail));
        }
        ("Cluster", Some(_)) => {
            let detail = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(path, detail));
        }
        _ => {}
    }
    if let Some(old) = old {
        check::immutable(new, old, &["spec", "controller"], &mut errors);
    }
    errors
}

/// An address is called by itself, in its one canonical spelling, and belongs to something.
fn address_rules(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let name = meta::name(new);
    match name.parse::<IpAddr>() {
        Err(_) => {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
        Ok(address) if address.to_string() != name => {
            let detail = format!("must be in canonical form (\"{address}\")");
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
        Ok(_) => {}
    }
    let path = FieldPath::new("spec").child("parentRef");
    match meta::at(new, &["spec", "parentRef"]) {
        None => errors.push(FieldError::required(path, "")),
        Some(parent) => {
            for field in ["resource", "name"] {
                check::required(parent, field, &path, &mut errors);
            }
            let group = ("group", Must::BeFormedIfAny(names::dns1123_subdomain));
            rules::check(parent, &path, &[group], &mut errors);
        }
    }
    if let Some(old) = old {
        check::immutable(new, old, &["spec", "parentRef"], &mut errors);
    }
    errors
}

/// One or two ranges, of different families, that stay what they are; a second one may be added.
fn range_rules(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec").child("cidrs");
    let texts = |object: &Value| -> Vec<String> {
        let items = meta::items(object, &["spec", "cidrs"]).iter().filter_map(Value::as_str);
        items.map(str::to_owned).collect()
    };
    let ranges = texts(new);
    if let Some(old) = old {
        let before = texts(old);
        let kept = ranges.iter().zip(&before).enumerate();
        for (at, (is, _)) in kept.filter(|(_, (is, was))| is != was) {
            errors.push(FieldError::invalid(path.index(at), is.as_str(), check::IMMUTABLE));
        }
        match (before.len(), ranges.len()) {
            // A second family may come.
            (1, 2) => {}
            (was, is) if was == is => return errors,
            _ => return vec![FieldError::invalid(path, ranges, check::IMMUTABLE)],
        }
    }
    if ranges.is_empty() {
        errors.push(FieldError::required(path.clone(), "at least one CIDR required"));
    }
    if ranges.len() > 2 {
        let detail = "may only hold up to 2 values";
        errors.push(FieldError::invalid(path.clone(), ranges.clone(), detail));
    }
    for (index, range) in ranges.iter().enumerate() {
        if !is_range(range) {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(path.index(index), range.as_str(), detail));
        }
    }
    if let [first, second] = ranges.as_slice()
        && first.contains(':') == second.contains(':')
    {
        let detail = "you can only specify one CIDR for each IP family";
        errors.push(FieldError::invalid(path, ranges.clone(), detail));
    }
    errors
}

/// Whether a text is a range in canonical form, without bits beyond its prefix.
fn is_range(text: &str) -> bool {
    let range = text.parse::<IpNet>();
    range.is_ok_and(|range| range.addr() == range.network() && range.to_string() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_spelled_in_one_way_and_belong_to_something() {
        let parent = json!({"resource": "services", "namespace": "n", "name": "s"});
        #[rustfmt::skip]
        let cases = [
            ("10.0.0.1",       json!({"parentRef": parent}),                vec![]),
            ("2001:db8::1",    json!({"parentRef": parent}),                vec![]),
            ("2001:DB8::1",    json!({"parentRef": parent}),                vec!["metadata.name"]),
            ("ten",            json!({"parentRef": parent}),                vec!["metadata.name"]),
            ("10.0.0.1",       json!({}),                                   vec!["spec.parentRef"]),
            ("10.0.0.1",       json!({"parentRef": {"name": "s"}}),         vec!["spec.parentRef.resource"]),
        ];
        for (name, spec, expected) in cases {
            let address = json!({"metadata": {"name": name}, "spec": spec});
            let found: Vec<String> =
                address_rules(&address, None).into_iter().map(|error| error.field).collect();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn ranges_are_canonical_and_stay() {
        let cases = [
            ("10.0.0.0/16", true),
            ("10.0.0.1/16", false),
            ("10.0.0.0/33", false),
            ("fd00::/64", true),
            ("0.0.0.0/0", true),
            ("10.0.0.0", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_range(text), expected, "{text}");
        }
        let of = |cidrs: Value| json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}});
        let (one, two) = (of(json!(["10.0.0.0/16"])), of(json!(["10.0.0.0/16", "fd00::/64"])));
        assert_eq!(range_rules(&two, Some(&one)), []);
        assert_eq!(range_rules(&one, Some(&two)).len(), 1);
    }
}
