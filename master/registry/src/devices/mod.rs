//! `resource.k8s.io/v1`: classes of devices, what nodes offer of them, and what pods claim.
//!
//! Kept and checked as upstream does (`pkg/apis/resource/validation`), with what Kubernetes v1.36 turns on by itself:
//! lists as attributes and mappings to a node's resources are dropped.

mod capacity;
mod claim;
mod forms;
mod selector;
mod slice;
mod status;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, time};
use serde_json::{Map, Value};

use crate::check::{self, Findings};
use crate::fill::{object, objects, zero};
use crate::objectmeta;
use crate::plain::Plain;
use crate::strategy::Cx;
use crate::table::{Cell, or};

/// Configurations of one class.
const CONFIGS_MAX: usize = 32;
/// A namespace whose claims may have devices that others use already.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

pub const DEVICE_CLASSES: Plain = Plain::bare().generation().validate(class_rules);

pub const RESOURCE_CLAIMS: Plain = Plain::bare()
    .status()
    .default(claim)
    .permit(permitted)
    .validate(claim_rules)
    .prepare_status(status::forget_devices)
    .validate_status(status::check)
    .cells(&[Cell::NAME, Cell::text("State", |claim, _| state(claim).into()), Cell::AGE]);

pub const RESOURCE_CLAIM_TEMPLATES: Plain =
    Plain::bare().default(template).permit(permitted_template).validate(template_rules);

pub const RESOURCE_SLICES: Plain = Plain::bare()
    .generation()
    .prepare(offered)
    .validate(slice::check)
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
    let Some(fields) = claim.as_object_mut() else { return };
    if let Some(spec) = object(fields, "spec") {
        requests(spec);
    }
    let status = object(fields, "status");
    let given = status.and_then(|status| object(status, "allocation"));
    if let Some(devices) = given.and_then(|given| object(given, "devices")) {
        objects(devices, "results").for_each(tolerations);
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
    tolerations(request);
}

fn tolerations(of: &mut Map<String, Value>) {
    for toleration in objects(of, "tolerations") {
        zero(toleration, "operator", "Equal");
    }
}

/// What is offered: taints say since when; what is turned off goes.
fn offered(slice: &mut Value, cx: &Cx<'_>) {
    let spec = slice.as_object_mut().and_then(|fields| object(fields, "spec"));
    let Some(spec) = spec else { return };
    for taint in objects(spec, "devices").flat_map(|device| objects(device, "taints")) {
        if taint.get("timeAdded").is_none_or(Value::is_null) {
            taint.insert("timeAdded".to_owned(), time::seconds(cx.now).into());
        }
    }
    without_what_is_off(slice);
}

/// What Kubernetes v1.36 has only if it is turned on goes.
fn without_what_is_off(slice: &mut Value) {
    let spec = slice.as_object_mut().and_then(|fields| object(fields, "spec"));
    for device in spec.into_iter().flat_map(|spec| objects(spec, "devices")) {
        device.remove("nodeAllocatableResourceMappings");
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flatten().filter_map(|(_, it)| it.as_object_mut()) {
            for list in ["bools", "ints", "strings", "versions"] {
                attribute.remove(list);
            }
        }
    }
}

/// Devices that others use already are for claims of namespaces that say so.
fn permitted(claim: &Value, old: Option<&Value>, cx: &Cx<'_>) -> Findings {
    let Some(old) = old else {
        let path = FieldPath::new("spec.devices.requests");
        let requests = meta::items(claim, &["spec", "devices", "requests"]);
        return for_admins(claim, (requests, &["exactly", "adminAccess"]), &path, cx);
    };
    let place = ["status", "allocation", "devices", "results"];
    let path = FieldPath::new(place.join("."));
    let given = |claim| (meta::items(claim, &place), &["adminAccess"][..]);
    let had = given(old).0.iter().any(|result| meta::is_true(result, &["adminAccess"]));
    if had { Vec::new() } else { for_admins(claim, given(claim), &path, cx) }
}

fn permitted_template(template: &Value, old: Option<&Value>, cx: &Cx<'_>) -> Findings {
    if old.is_some() {
        return Vec::new();
    }
    // As upstream: a template's requests are told by the places that a claim's have.
    let path = FieldPath::new("spec.devices.requests");
    let requests = meta::items(template, &["spec", "spec", "devices", "requests"]);
    for_admins(template, (requests, &["exactly", "adminAccess"]), &path, cx)
}

fn for_admins(
    object: &Value,
    (requests, asked): (&[Value], &[&str]),
    path: &FieldPath,
    cx: &Cx<'_>,
) -> Findings {
    let asks = |request: &Value| meta::is_true(request, asked);
    let Some(at) = requests.iter().position(asks) else { return Vec::new() };
    let namespace = cx.reader.get("", "namespaces", "", meta::namespace(object));
    if namespace.is_some_and(|namespace| meta::label(&namespace, ADMIN_LABEL) == "true") {
        return Vec::new();
    }
    let path = path.index(at).child("adminAccess");
    let detail = format!(
        "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
    );
    vec![FieldError::forbidden(path, detail)]
}

fn class_rules(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    selector::check(spec, &path, &mut errors);
    let is_kept = old.is_some_and(|old| old["spec"]["config"] == spec["config"]);
    let configs = forms::bounded(spec, "config", CONFIGS_MAX, &path, &mut errors);
    for (index, config) in configs.iter().enumerate().filter(|_| !is_kept) {
        claim::opaque(config, &path.child("config").index(index), &mut errors);
    }
    let name = meta::text(spec, &["extendedResourceName"]);
    if spec["extendedResourceName"].is_string() && !is_extended(name) {
        let detail = "must be a valid extended resource name";
        errors.push(FieldError::invalid(path.child("extendedResourceName"), name, detail));
    }
    errors
}

/// Whether a name can be that of a resource that Kubernetes does not know.
fn is_extended(name: &str) -> bool {
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    let of_quotas = "requests.";
    !is_native
        && !name.starts_with(of_quotas)
        && names::qualified_name(&format!("{of_quotas}{name}")).is_empty()
}

fn claim_rules(new: &Value, old: Option<&Value>) -> Findings {
    match old {
        None => claim::spec(&new["spec"], &FieldPath::new("spec")),
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
            errors.extend(claim::spec(&new["spec"]["spec"], &path.child("spec")));
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

#[cfg(test)]
mod tests;
