//! `v1/limitranges`.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use crate::check::{self, Findings};
use crate::fill::{absent, made, objects};
use crate::pod::containers::{STANDARD, container_resource};
use crate::strategy::Strategy;
use crate::table::{Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct LimitRanges;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Created At", |object, _| {
        meta::text(object, &["metadata", "creationTimestamp"]).into()
    }),
];

impl Strategy for LimitRanges {
    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        for item in objects(made(fields, "spec"), "limits") {
            if item.get("type").and_then(Value::as_str) == Some("Container") {
                container_defaults(item);
            }
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec").child("limits");
        let mut types = BTreeSet::new();
        for (at, item) in meta::items(new, &["spec", "limits"]).iter().enumerate() {
            let path = path.index(at);
            let kind = meta::text(item, &["type"]);
            limit_type(kind, &path.child("type"), &mut errors);
            if !types.insert(kind) {
                errors.push(FieldError::duplicate(path.child("type"), kind));
            }
            for list in ["max", "min", "default", "defaultRequest"] {
                check::amounts(&item[list], &path.child(list), &mut errors);
            }
            named(item, kind, &path, &mut errors);
            in_order(item, &path, &mut errors);
            ratios(item, &path, &mut errors);
        }
        errors
    }

    tabled!(CELLS);
}

/// Kinds of limits that need no domain.
const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn limit_type(kind: &str, path: &FieldPath, errors: &mut Findings) {
    let found = names::qualified_name(kind);
    if found.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        let detail = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path.clone(), kind, detail));
    }
    errors
        .extend(found.into_iter().map(|problem| FieldError::invalid(path.clone(), kind, problem)));
}

/// What is limited has a name that is known for such a limit.
fn named(item: &Value, kind: &str, path: &FieldPath, errors: &mut Findings) {
    for list in LISTS {
        for name in item[list].as_object().into_iter().flatten().map(|(name, _)| name) {
            let path = path.child(list).key(name);
            if matches!(kind, "Container" | "Pod") {
                errors.extend(container_resource(name, &path));
                continue;
            }
            for problem in names::qualified_name(name) {
                errors.push(FieldError::invalid(path.clone(), name.as_str(), problem));
            }
            if !name.contains('/') && !STANDARD.contains(&&**name) {
                let detail = "must be a standard resource type or fully qualified";
                errors.push(FieldError::invalid(path, name.as_str(), detail));
            }
        }
    }
    let has_size = |list: &str| meta::at(item, &[list, "storage"]).is_some();
    if kind == "PersistentVolumeClaim" && !has_size("min") && !has_size("max") {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(path.child("limits"), detail));
    }
}

fn container_defaults(item: &mut Map<String, Value>) {
    let take = |item: &Map<String, Value>, list: &str| {
        item.get(list).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
    {
        let amounts = take(item, from);
        let target = made(item, to);
        for (name, amount) in amounts {
            absent(target, &name, amount);
        }
    }
}

/// How much more than its request a limit may be: as much at least, and no more than minimum and maximum allow.
fn ratios(item: &Value, path: &FieldPath, errors: &mut Findings) {
    const FIELD: &str = "maxLimitRequestRatio";
    for (name, amount) in item[FIELD].as_object().into_iter().flatten() {
        let Some(ratio) = Quantity::from_json(amount) else { continue };
        let path = path.child(FIELD).key(name);
        if ratio < Quantity::from_units(1) {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(FieldError::invalid(path.clone(), ratio.to_string(), detail));
        }
        let bound = |list: &str| Quantity::from_json(&item[list][name]);
        let (Some(least), Some(most)) = (bound("min"), bound("max")) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "as upstream computes it")]
        let number = |amount: Quantity| amount.millis() as f64 / 1000.0;
        let limit = number(most) / number(least);
        if number(ratio) > limit {
            let detail = format!("ratio {ratio} is greater than max/min = {limit:.6}");
            errors.push(FieldError::invalid(path, ratio.to_string(), detail));
        }
    }
}

/// `min` ≤ `defaultRequest` ≤ `default` ≤ `max`, for each resource.
fn in_order(item: &Value, path: &FieldPath, errors: &mut Findings) {
    let pairs = [
        ("min", "max", "min value {} is greater than max value {}"),
        ("min", "defaultRequest", "min value {} is greater than default request value {}"),
        ("defaultRequest", "max", "default request value {} is greater than max value {}"),
        (
            "defaultRequest",
            "default",
            "default request value {} is greater than default limit value {}",
        ),
        ("default", "max", "default value {} is greater than max value {}"),
    ];
    for (low, high, words) in pairs {
        for (name, amount) in item[low].as_object().into_iter().flatten() {
            let (low_amount, high_amount) =
                (Quantity::from_json(amount), Quantity::from_json(&item[high][name]));
            let (Some(least), Some(most)) = (low_amount, high_amount) else { continue };
            if least > most {
                let detail = words.replacen("{}", &least.to_string(), 1).replacen(
                    "{}",
                    &most.to_string(),
                    1,
                );
                errors.push(FieldError::invalid(
                    path.child(low).key(name),
                    least.to_string(),
                    detail,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_follow_from_maxima_and_minima() {
        let mut object = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        LimitRanges.default(&mut object);
        let item = &object["spec"]["limits"][0];
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }

    #[test]
    fn a_minimum_above_the_maximum_is_refused() {
        let object = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}});
        let errors = LimitRanges.validate(&object, None);
        assert_eq!(
            errors[0].to_string(),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
        );
    }
}
