//! `resource.k8s.io/v1`: classes of devices, what nodes offer of them, and what pods claim.
//!
//! Kept and checked as upstream does.

use std::collections::BTreeSet;
use std::rc::Rc;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use crate::cel::{Names, Program, Type, asks_unknown};
use crate::check::{self, Findings};
use crate::fill::{absent, object, objects, zero};
use crate::objectmeta;
use crate::plain::Plain;
use crate::rules::{self, Must};
use crate::statuses;
use crate::table::{Cell, or};

/// Requests, constraints or configurations of one claim.
const ITEMS_MAX: usize = 32;

pub const DEVICE_CLASSES: Plain = Plain::bare().generation().validate(class_rules);

pub const RESOURCE_CLAIMS: Plain = Plain::bare()
    .status()
    .default(claim)
    .validate(claim_rules)
    .validate_status(statuses::resource_claim)
    .cells(&[Cell::NAME, Cell::text("State", |claim, _| state(claim).into()), Cell::AGE]);

pub const RESOURCE_CLAIM_TEMPLATES: Plain =
    Plain::bare().default(template).validate(template_rules);

pub const RESOURCE_SLICES: Plain = Plain::bare()
    .generation()
    .validate(slice_rules)
    .selectable(&[("spec.driver", &["spec", "driver"]), ("spec.nodeName", &["spec", "nodeName"])])
    .cells(&[
        Cell::NAME,
        Cell::text("Node", |slice, _| or(slice, &["spec", "nodeName"], "<unset>")),
        Cell::text("Driver", |slice, _| or(slice, &["spec", "driver"], "")),
        Cell::text("Pool", |slice, _| or(slice, &["spec", "pool", "name"], "")),
        Cell::AGE,
    ]);

/// `pending`, or what holds of the claim.
fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    if meta::is_terminating(claim) {
        states.push("deleted");
    }
    if meta::at(claim, &["status", "allocation"]).is_some() {
        states.push("allocated");
        if !meta::items(claim, &["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if states.is_empty() {
        states.push("pending");
    }
    states.join(",")
}

fn claim(claim: &mut Value) {
    if let Some(spec) = claim.as_object_mut().and_then(|fields| object(fields, "spec")) {
        requests(spec);
    }
}

fn template(template: &mut Value) {
    let spec = template.as_object_mut().and_then(|fields| object(fields, "spec"));
    if let Some(spec) = spec.and_then(|spec| object(spec, "spec")) {
        requests(spec);
    }
}

/// How many devices a request is for, where it does not say.
fn requests(spec: &mut Map<String, Value>) {
    let Some(devices) = object(spec, "devices") else { return };
    for request in objects(devices, "requests") {
        if let Some(exactly) = object(request, "exactly") {
            amount(exactly);
        }
        objects(request, "firstAvailable").for_each(amount);
    }
}

fn amount(request: &mut Map<String, Value>) {
    zero(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        zero(request, "count", 1);
    }
    for toleration in objects(request, "tolerations") {
        absent(toleration, "operator", "Equal");
    }
}

fn class_rules(new: &Value, _old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    selectors(&new["spec"], &path, &mut errors);
    for (index, config) in meta::items(new, &["spec", "config"]).iter().enumerate() {
        opaque(config, &path.child("config").index(index), &mut errors);
    }
    errors
}

fn claim_rules(new: &Value, old: Option<&Value>) -> Findings {
    match old {
        None => claim_spec(&new["spec"], &FieldPath::new("spec")),
        Some(old) => unchanged(new, old),
    }
}

fn template_rules(new: &Value, old: Option<&Value>) -> Findings {
    match old {
        None => {
            let path = FieldPath::new("spec");
            let within = path.child("metadata");
            let mut errors = objectmeta::labels(&new["spec"], &within);
            errors.extend(objectmeta::annotations(&new["spec"], &within));
            errors.extend(claim_spec(&new["spec"]["spec"], &path.child("spec")));
            errors
        }
        Some(old) => unchanged(new, old),
    }
}

fn unchanged(new: &Value, old: &Value) -> Findings {
    let mut errors = Vec::new();
    check::immutable(new, old, &["spec"], &mut errors);
    errors
}

fn claim_spec(spec: &Value, path: &FieldPath) -> Findings {
    let mut errors = Vec::new();
    let path = path.child("devices");
    let devices = &spec["devices"];
    let mut known = BTreeSet::new();
    for field in ["requests", "constraints", "config"] {
        let count = meta::items(devices, &[field]).len();
        if count > ITEMS_MAX {
            errors.push(FieldError::too_many(path.child(field), count, ITEMS_MAX));
        }
    }
    for (index, request) in meta::items(devices, &["requests"]).iter().enumerate() {
        let place = path.child("requests").index(index);
        label(request, &place, &mut errors);
        let name = meta::text(request, &["name"]);
        if !known.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(place.clone(), name));
        }
        request_rules(request, &place, &mut known, &mut errors);
    }
    for (index, constraint) in meta::items(devices, &["constraints"]).iter().enumerate() {
        let path = path.child("constraints").index(index);
        references(constraint, &path, &known, &mut errors);
        constraint_rules(constraint, &path, &mut errors);
    }
    for (index, config) in meta::items(devices, &["config"]).iter().enumerate() {
        let place = path.child("config").index(index);
        references(config, &place, &known, &mut errors);
        opaque(config, &place, &mut errors);
    }
    errors
}

/// A name, which is wrong if it is not there.
fn label(object: &Value, path: &FieldPath, errors: &mut Findings) {
    let rule = ("name", Must::BeGivenFormed(names::dns1123_label));
    rules::check(object, path, &[rule], errors);
}

fn request_rules(
    request: &Value,
    path: &FieldPath,
    known: &mut BTreeSet<String>,
    errors: &mut Findings,
) {
    let choices = meta::items(request, &["firstAvailable"]);
    match (meta::at(request, &["exactly"]), choices.is_empty()) {
        (None, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path.clone(), detail));
        }
        (Some(_), false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path.clone(), Value::Null, detail));
        }
        (Some(exactly), true) => devices(exactly, &path.child("exactly"), errors),
        (None, false) => {
            for (index, choice) in choices.iter().enumerate() {
                let place = path.child("firstAvailable").index(index);
                label(choice, &place, errors);
                let (main, sub) = (meta::text(request, &["name"]), meta::text(choice, &["name"]));
                if !known.insert(format!("{main}/{sub}")) {
                    errors.push(FieldError::duplicate(place.clone(), sub));
                }
                devices(choice, &place, errors);
            }
        }
    }
}

/// What is asked for: a class, and how many of it.
fn devices(request: &Value, path: &FieldPath, errors: &mut Findings) {
    check::named(request, "deviceClassName", path, names::dns1123_subdomain, errors);
    selectors(request, path, errors);
    check::one_of(request, "allocationMode", path, &["All", "ExactCount"], errors);
    let count = meta::number(request, &["count"]);
    let is_all = meta::text(request, &["allocationMode"]) == "All";
    match count {
        Some(count) if is_all && count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(path.child("count"), count, detail));
        }
        Some(count) if !is_all && count <= 0 => {
            errors.push(FieldError::invalid(
                path.child("count"),
                count,
                "must be greater than zero",
            ));
        }
        _ => {}
    }
}

fn selectors(holder: &Value, path: &FieldPath, errors: &mut Findings) {
    for (index, selector) in meta::items(holder, &["selectors"]).iter().enumerate() {
        let place = path.child("selectors").index(index);
        if meta::at(selector, &["cel"]).is_none() {
            errors.push(FieldError::required(place.child("cel"), ""));
            continue;
        }
        let place = place.child("cel").child("expression");
        let source = meta::text(selector, &["cel", "expression"]);
        if let Some(wrong) = wrong_selector(source) {
            errors.push(FieldError::invalid(place, source, wrong));
        }
    }
}

/// What is wrong with an expression about a device.
fn wrong_selector(source: &str) -> Option<String> {
    let by_domain = |of: Type<'static>| Type::Map(Box::new(Type::Map(Box::new(of))));
    let fields = [
        ("driver", Type::Text),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(Type::Quantity)),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, kind)| (name.to_owned(), kind));
    let names = Names::from([("device", Type::Made(Rc::new(fields.into())))]);
    match Program::compile(source, &names) {
        _ if asks_unknown(source) => None,
        Ok((_, Type::Bool | Type::Dyn)) => None,
        Ok((_, other)) => Some(format!("must evaluate to bool or the unknown type, not {other}")),
        Err(error) => Some(format!("compilation failed: {error}")),
    }
}

fn references(holder: &Value, path: &FieldPath, known: &BTreeSet<String>, errors: &mut Findings) {
    let listed = meta::items(holder, &["requests"]);
    for (index, name) in listed.iter().enumerate() {
        if listed[..index].contains(name) {
            let path = path.child("requests").index(index);
            errors.push(FieldError::duplicate(path, name.clone()));
        }
        let name = name.as_str().unwrap_or_default();
        if !known.contains(name) {
            let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.push(FieldError::invalid(path.child("requests").index(index), name, detail));
        }
    }
}

fn opaque(config: &Value, path: &FieldPath, errors: &mut Findings) {
    match meta::at(config, &["opaque"]) {
        None => errors.push(FieldError::required(path.child("opaque"), "")),
        Some(opaque) => {
            let path = path.child("opaque");
            check::named(opaque, "driver", &path, names::dns1123_subdomain, errors);
            match &opaque["parameters"] {
                Value::Null => errors.push(FieldError::required(path.child("parameters"), "")),
                Value::Object(_) => {}
                _ => {
                    let (path, shown) = (path.child("parameters"), "<value omitted>");
                    let detail = "must be a valid JSON object";
                    errors.push(FieldError::invalid(path, shown, detail));
                }
            }
        }
    }
}

/// Devices have something in common, or do not: by an attribute with its domain.
fn constraint_rules(constraint: &Value, path: &FieldPath, errors: &mut Findings) {
    let kinds = ["matchAttribute", "distinctAttribute"];
    let given: Vec<&str> =
        kinds.into_iter().filter(|kind| meta::at(constraint, &[kind]).is_some()).collect();
    let [kind] = given.as_slice() else {
        let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        errors.push(FieldError::required(path.clone(), detail));
        return;
    };
    let (name, path) = (meta::text(constraint, &[kind]), path.child(kind));
    qualified(name, true, &path, errors);
}

/// An attribute or a capacity: a domain and an identifier, or an identifier alone where that is enough.
fn qualified(name: &str, needs_domain: bool, path: &FieldPath, errors: &mut Findings) {
    const LENGTH_MAX: usize = 32;
    let (domain, id) = match name.split_once('/') {
        Some((domain, id)) => (Some(domain), id),
        None => (None, name),
    };
    let problems = domain.map(names::dns1123_subdomain).unwrap_or_default();
    errors.extend(
        problems
            .into_iter()
            .map(|it| FieldError::invalid(path.clone(), domain.unwrap_or_default(), it)),
    );
    if id.len() > LENGTH_MAX {
        errors.push(FieldError::too_long(path.clone(), LENGTH_MAX));
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_identifier =
        id.bytes().all(is_word) && id.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_identifier {
        let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.push(FieldError::invalid(path.clone(), id, detail));
    }
    if needs_domain && domain.is_none() {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path.clone(), name, detail));
    }
}

/// What a node's driver says of one device.
fn device_rules(device: &Value, path: &FieldPath, errors: &mut Findings) {
    const TEXT_BYTES_MAX: usize = 64;
    let kinds = ["bool", "int", "string", "version"];
    for (name, attribute) in device["attributes"].as_object().into_iter().flatten() {
        let path = path.child("attributes").key(name);
        qualified(name, false, &path, errors);
        let given = kinds.iter().filter(|kind| meta::at(attribute, &[kind]).is_some()).count();
        if given != 1 {
            errors.push(FieldError::invalid(path, "", "exactly one value must be specified"));
            continue;
        }
        for kind in ["string", "version"] {
            if meta::text(attribute, &[kind]).len() > TEXT_BYTES_MAX {
                errors.push(FieldError::too_long(path.child(kind), TEXT_BYTES_MAX));
            }
        }
    }
    for name in device["capacity"].as_object().into_iter().flatten().map(|(name, _)| name) {
        qualified(name, false, &path.child("capacity").key(name), errors);
    }
}

/// All that one driver has on one node, say, which may take several slices.
fn pool(pool: &Value, path: &FieldPath, errors: &mut Findings) {
    const NAME_BYTES_MAX: usize = 253;
    let name = meta::text(pool, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(path.child("name"), ""));
    }
    if name.len() > NAME_BYTES_MAX {
        errors.push(FieldError::too_long(path.child("name"), NAME_BYTES_MAX));
    }
    let parts = name.split('/').flat_map(|part| {
        names::dns1123_subdomain(part).into_iter().map(move |problem| (part, problem))
    });
    for (part, problem) in parts.filter(|_| !name.is_empty()) {
        errors.push(FieldError::invalid(path.child("name"), part, problem));
    }
    let number = |field: &str| meta::number(pool, &[field]).unwrap_or_default();
    if number("resourceSliceCount") <= 0 {
        let (shown, detail) = (number("resourceSliceCount"), "must be greater than zero");
        errors.push(FieldError::invalid(path.child("resourceSliceCount"), shown, detail));
    }
    if number("generation") < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(path.child("generation"), number("generation"), detail));
    }
}

fn slice_rules(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    check::named(spec, "driver", &path, names::dns1123_subdomain, &mut errors);
    check::well_formed(spec, "nodeName", &path, names::dns1123_subdomain, &mut errors);
    pool(&spec["pool"], &path.child("pool"), &mut errors);
    let text = |field: &str| !meta::text(spec, &[field]).is_empty();
    let selects = meta::at(spec, &["nodeSelector"]).is_some();
    let choices = [
        text("nodeName"),
        selects,
        meta::is_true(spec, &["allNodes"]),
        meta::is_true(spec, &["perDeviceNodeSelection"]),
    ];
    let count = choices.iter().filter(|is_set| **is_set).count();
    if count != 1 {
        let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        errors.push(FieldError::required(path.clone(), detail));
    }
    let mut known = BTreeSet::new();
    for (index, device) in meta::items(spec, &["devices"]).iter().enumerate() {
        let place = path.child("devices").index(index);
        label(device, &place, &mut errors);
        let name = meta::text(device, &["name"]);
        if !known.insert(name) {
            errors.push(FieldError::duplicate(place.clone(), name));
        }
        device_rules(device, &place, &mut errors);
    }
    if let Some(old) = old {
        check::immutable(new, old, &["spec", "driver"], &mut errors);
        check::immutable(new, old, &["spec", "nodeName"], &mut errors);
        check::immutable(new, old, &["spec", "pool", "name"], &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::strategy::Strategy;

    fn fields(plain: &Plain, mut new: Value, old: Option<&Value>) -> Vec<String> {
        Strategy::default(plain, &mut new);
        Strategy::validate(plain, &new, old).into_iter().map(|error| error.field).collect()
    }

    fn asking(request: Value) -> Value {
        json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}})
    }

    #[test]
    fn a_request_names_a_class_and_a_count() {
        let place = "spec.devices.requests[0]";
        #[rustfmt::skip]
        let cases = [
            (json!({"name": "r", "exactly": {"deviceClassName": "gpu"}}),              vec![]),
            (json!({"name": "r"}),                                                     vec![place.to_owned()]),
            (json!({"name": "r", "exactly": {}}),                                      vec![format!("{place}.exactly.deviceClassName")]),
            (json!({"name": "r", "exactly": {"deviceClassName": "gpu", "count": -1}}), vec![format!("{place}.exactly.count")]),
            (json!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "x"}]}), vec![]),
        ];
        for (request, expected) in cases {
            assert_eq!(
                fields(&RESOURCE_CLAIMS, asking(request.clone()), None),
                expected,
                "{request}"
            );
        }
        let mut one = asking(json!({"name": "r", "exactly": {"deviceClassName": "gpu"}}));
        claim(&mut one);
        assert_eq!(one["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
    }

    #[test]
    fn a_claim_stays_what_it_is() {
        let old = asking(
            json!({"name": "r", "exactly": {"deviceClassName": "gpu", "count": 1, "allocationMode": "ExactCount"}}),
        );
        assert_eq!(fields(&RESOURCE_CLAIMS, old.clone(), Some(&old)), [""; 0]);
        let other = asking(json!({"name": "s", "exactly": {"deviceClassName": "gpu"}}));
        assert_eq!(fields(&RESOURCE_CLAIMS, other, Some(&old)), ["spec"]);
    }

    #[test]
    fn states_are_upstreams() {
        #[rustfmt::skip]
        let cases = [
            (json!({}), "pending"),
            (json!({"status": {"allocation": {}}}), "allocated"),
            (json!({"status": {"allocation": {}, "reservedFor": [{"name": "p"}]}}), "allocated,reserved"),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "deleted"),
        ];
        for (claim, expected) in cases {
            assert_eq!(state(&claim), expected, "{claim}");
        }
    }

    #[test]
    fn slices_are_found_by_driver_and_node() {
        let slice = json!({"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}});
        assert_eq!(fields(&RESOURCE_SLICES, slice.clone(), None), [""; 0]);
        assert_eq!(RESOURCE_SLICES.fields(&slice)["spec.nodeName"], "n");
    }
}
