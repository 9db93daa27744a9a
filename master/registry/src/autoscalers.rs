//! What an autoscaler must be: its target, its metrics, and how fast it may move.
//!
//! # Path
//! `rows.rs` → here

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::Findings;
use crate::pod::containers::container_resource;
use crate::rules::{self, Must, Rule};

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const TARGETS: [&str; 3] = ["Utilization", "Value", "AverageValue"];
const NOT_NAMED: &str = "must specify a metric name";

/// What there is to say of a specification, beside what depends on several fields.
const RULES: &[Rule] = &[
    ("scaleTargetRef.kind", Must::BeThereFormed(names::path_segment)),
    ("scaleTargetRef.name", Must::BeThereFormed(names::path_segment)),
];

const WINDOW: &str = "must be greater than or equal to zero";
const SCALING: &[Rule] = &[
    ("stabilizationWindowSeconds", Must::BeWithin(0, i64::MAX, WINDOW)),
    (
        "stabilizationWindowSeconds",
        Must::BeWithin(i64::MIN, 3600, "must be less than or equal to 3600"),
    ),
    ("selectPolicy", Must::BeOneOf(&["Disabled", "Max", "Min"])),
    ("policies", Must::BeThere("must specify at least one Policy")),
    ("policies[].type", Must::BeGivenOneOf(&["Percent", "Pods"])),
    ("policies[].value", Must::BeGivenWithin(1, i64::MAX, "must be greater than zero")),
    ("policies[].periodSeconds", Must::BeGivenWithin(1, i64::MAX, "must be greater than zero")),
    (
        "policies[].periodSeconds",
        Must::BeGivenWithin(i64::MIN, 1800, "must be less than or equal to 1800"),
    ),
];

/// What is wrong with the specification of an autoscaler.
pub(crate) fn rules(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    let number = |field: &str| meta::number(spec, &[field]).unwrap_or_default();
    let (least, most) = (number("minReplicas"), number("maxReplicas"));
    if least < 1 {
        let detail = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(path.child("minReplicas"), least, detail));
    }
    match most {
        0 => errors.push(FieldError::required(
            path.child("maxReplicas"),
            "must be set and greater than 0",
        )),
        ..0 => {
            let detail = "must be greater than or equal to 1";
            errors.push(FieldError::invalid(path.child("maxReplicas"), most, detail));
        }
        _ => {}
    }
    if most < least {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(path.child("maxReplicas"), most, detail));
    }
    const NOTHING: &Value = &Value::Null;
    let mut spec_there = spec.clone();
    if spec_there.get("scaleTargetRef").unwrap_or(NOTHING).is_null() && spec_there.is_object() {
        spec_there["scaleTargetRef"] = Value::Object(Default::default());
    }
    rules::check(&spec_there, &path, RULES, &mut errors);
    let reference = &spec["scaleTargetRef"];
    let api_version = meta::text(reference, &["apiVersion"]);
    let is_core = meta::text(reference, &["kind"]) == "ReplicationController";
    if !is_core && meta::split_api_version(api_version).0.is_empty() {
        let path = path.child("scaleTargetRef").child("apiVersion");
        let detail = "apiVersion must specify API group";
        errors.push(FieldError::invalid(path, api_version, detail));
    }
    for (at, metric) in meta::items(spec, &["metrics"]).iter().enumerate() {
        metric_rules(metric, &path.child("metrics").index(at), &mut errors);
    }
    if least == 0 && !scales_from_outside(spec) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(path.child("metrics"), detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(scaling) = meta::at(spec, &["behavior", direction]) {
            let path = path.child("behavior").child(direction);
            rules::check(scaling, &path, SCALING, &mut errors);
        }
    }
    errors
}

/// Whether something that is there without pods can make there be some.
fn scales_from_outside(spec: &Value) -> bool {
    let kinds = meta::items(spec, &["metrics"]).iter().map(|metric| meta::text(metric, &["type"]));
    kinds.into_iter().any(|kind| matches!(kind, "Object" | "External"))
}

fn metric_rules(metric: &Value, path: &FieldPath, errors: &mut Findings) {
    let kind = meta::text(metric, &["type"]);
    if kind.is_empty() {
        let detail = "must specify a metric source type";
        errors.push(FieldError::required(path.child("type"), detail));
    }
    if !TYPES.contains(&kind) {
        // Upstream tells it twice.
        let unknown = FieldError::not_supported(path.child("type"), kind, &TYPES);
        errors.extend([unknown.clone(), unknown]);
        return;
    }
    let field = format!("{}{}", kind[..1].to_lowercase(), &kind[1..]);
    let path = path.child(&field);
    let Some(source) = meta::at(metric, &[&field]) else {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(path, detail));
        return;
    };
    match kind {
        "ContainerResource" => {
            resource_name(source, &path, true, errors);
            match meta::text(source, &["container"]) {
                "" => errors.push(FieldError::required(
                    path.child("container"),
                    "must specify a container",
                )),
                name => errors.extend(
                    names::dns1123_label(name)
                        .into_iter()
                        .map(|problem| FieldError::invalid(path.child("container"), name, problem)),
                ),
            }
        }
        "Resource" => resource_name(source, &path, false, errors),
        "Object" => {
            let object = &source["describedObject"];
            let place = path.child("describedObject");
            for field in ["kind", "name"] {
                if meta::text(object, &[field]).is_empty() {
                    errors.push(FieldError::required(place.child(field), ""));
                }
            }
            identifier(source, &path, errors);
        }
        _ => identifier(source, &path, errors),
    }
    target(kind, &source["target"], &path.child("target"), errors);
}

fn resource_name(source: &Value, path: &FieldPath, is_judged: bool, errors: &mut Findings) {
    match meta::text(source, &["name"]) {
        "" => errors.push(FieldError::required(path.child("name"), "must specify a resource name")),
        name if is_judged => errors.extend(container_resource(name, &path.child("name"))),
        _ => {}
    }
}

fn identifier(source: &Value, path: &FieldPath, errors: &mut Findings) {
    let (metric, path) = (&source["metric"], path.child("metric"));
    match meta::text(metric, &["name"]) {
        "" => errors.push(FieldError::required(path.child("name"), NOT_NAMED)),
        name => errors.extend(
            names::path_segment(name)
                .into_iter()
                .map(|problem| FieldError::invalid(path.child("name"), name, problem)),
        ),
    }
}

fn target(source: &str, target: &Value, path: &FieldPath, errors: &mut Findings) {
    let kind = meta::text(target, &["type"]);
    if kind.is_empty() {
        let detail = "must specify a metric target type";
        errors.push(FieldError::required(path.child("type"), detail));
    }
    if !TARGETS.contains(&kind) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(path.child("type"), kind, detail));
    }
    let has = |field: &str| meta::at(target, &[field]).is_some();
    let utilization = meta::number(target, &["averageUtilization"]);
    if let Some(percent) = utilization.filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(path, percent, "must be greater than 0"));
    }
    for field in ["value", "averageValue"] {
        let amount = master_api::quantity::Quantity::from_json(&target[field]);
        if amount.is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
            let detail = "must be positive";
            errors.push(FieldError::invalid(path.child(field), target[field].clone(), detail));
        }
    }
    match source {
        "Resource" | "ContainerResource" => {
            if !has("averageUtilization") && !has("averageValue") {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(FieldError::required(path.child("averageUtilization"), detail));
            }
            if has("averageUtilization") && has("averageValue") {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(FieldError::forbidden(path.child("averageValue"), detail));
            }
        }
        "Pods" => {
            if !has("averageValue") {
                let detail = "must specify a positive target averageValue";
                errors.push(FieldError::required(path.child("averageValue"), detail));
            }
        }
        _ => {
            let (neither, both) = if source == "Object" {
                (
                    "must set either a target value or averageValue",
                    "may not set both a target value and averageValue",
                )
            } else {
                (
                    "must set either a target value for metric or a per-pod target",
                    "may not set both a target value for metric and a per-pod target",
                )
            };
            match (has("value"), has("averageValue")) {
                (false, false) => {
                    errors.push(FieldError::required(path.child("averageValue"), neither));
                }
                (true, true) if source == "External" => {
                    errors.push(FieldError::forbidden(path.child("value"), both));
                }
                (true, true) => {
                    errors.push(FieldError::forbidden(path.child("averageValue"), both))
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(metric: Value) -> Vec<String> {
        let autoscaler = json!({"spec": {"minReplicas": 1, "maxReplicas": 2, "metrics": [metric],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
        let text = |error: FieldError| error.to_string().replace("spec.metrics[0].", "");
        rules(&autoscaler, None).into_iter().map(text).collect()
    }

    #[test]
    fn metrics_say_what_they_measure_and_what_they_aim_at() {
        const OTHER: &str = "type: Unsupported value: \"Other\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"";
        #[rustfmt::skip]
        let cases = [
            (json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}), vec![]),
            (json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}}),
             vec!["resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]),
            (json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue"}}}),
             vec!["pods.target.averageValue: Required value: must specify a positive target averageValue"]),
            (json!({"type": "Pods"}), vec!["pods: Required value: must populate information for the given metric source"]),
            (json!({"type": "Other"}),
             [OTHER, OTHER].to_vec()),
        ];
        for (metric, expected) in cases {
            assert_eq!(found(metric.clone()), expected, "{metric}");
        }
    }

    #[test]
    fn movement_is_bounded() {
        let autoscaler = json!({"spec": {"minReplicas": 1, "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 9999, "policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}}});
        let fields: Vec<String> = rules(&autoscaler, None).into_iter().map(|e| e.field).collect();
        let up = "spec.behavior.scaleUp";
        let expected =
            [format!("{up}.stabilizationWindowSeconds"), format!("{up}.policies[0].value")];
        assert_eq!(fields, expected);
    }
}
