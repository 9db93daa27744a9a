//! `networking.k8s.io/v1`.

pub mod ingresses;
pub mod networkpolicies;

use master_api::meta;
use serde_json::Value;

use crate::fill::{absent, made, object};
use crate::plain::Plain;
use crate::table::{Cell, or};

pub const INGRESS_CLASSES: Plain = Plain::bare().generation().default(ingress_class).cells(&[
    Cell::text("Name", |class, _| {
        default_name(class, "ingressclass.kubernetes.io/is-default-class").into()
    }),
    Cell::text("Controller", |class, _| or(class, &["spec", "controller"], "")),
    Cell::text("Parameters", |class, _| parameters(class).into()),
    Cell::AGE,
]);
pub const IP_ADDRESSES: Plain = Plain::bare().cells(&[
    Cell::NAME,
    Cell::text("ParentRef", |address, _| {
        let text = |field: &str| meta::text(address, &["spec", "parentRef", field]);
        format!("{}/{}/{}", text("resource"), text("namespace"), text("name")).into()
    }),
]);
pub const SERVICE_CIDRS: Plain = Plain::bare().status().cells(&[
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
