//! How much of a device there is, and how it may be divided among claims.

use std::cmp::Ordering;

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use serde_json::Value;

use super::forms::{bounded, distinct};
use crate::check::Findings;

/// Amounts that may be asked for, if they are listed.
const VALUES_MAX: usize = 10;

/// What is wrong with a capacity; only one that claims share can be divided.
pub(super) fn check(capacity: &Value, is_shared: bool, path: &FieldPath, errors: &mut Findings) {
    let policy = &capacity["requestPolicy"];
    if policy.is_null() {
        return;
    }
    let path = path.child("requestPolicy");
    let amount = |value: &Value| Quantity::from_json(value);
    let most = amount(&capacity["value"]).unwrap_or_default();
    let has_values = policy["validValues"].as_array().is_some_and(|values| !values.is_empty());
    let has_range = policy["validRange"].is_object();
    let default = amount(&policy["default"]);
    let required = |what: &str| {
        let detail = format!("required when {what} is defined");
        FieldError::required(path.child("default"), detail)
    };
    match (is_shared, has_values, has_range, default) {
        (false, ..) => {
            let detail = "allowMultipleAllocations must be true";
            errors.push(FieldError::forbidden(path, detail));
        }
        (_, true, true, _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(FieldError::forbidden(path, detail));
        }
        (_, true, _, None) => errors.push(required("validValues")),
        (_, _, true, None) => errors.push(required("validRange")),
        (_, true, _, Some(default)) => values(policy, default, most, &path, errors),
        (_, _, true, Some(default)) => {
            range(&policy["validRange"], default, most, &path.child("validRange"), errors);
        }
        _ => {}
    }
}

fn values(
    policy: &Value,
    default: Quantity,
    most: Quantity,
    path: &FieldPath,
    errors: &mut Findings,
) {
    let place = path.child("validValues");
    let listed = policy["validValues"].as_array().map_or(&[][..], Vec::as_slice);
    let amounts: Vec<Quantity> =
        listed.iter().map(|value| Quantity::from_json(value).unwrap_or_default()).collect();
    for (at, pair) in amounts.windows(2).enumerate() {
        if pair[0].cmp(&pair[1]) == Ordering::Greater {
            let detail = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(place.index(at + 1), pair[1].to_string(), detail));
        }
    }
    let is_bounded = !bounded(policy, "validValues", VALUES_MAX, path, errors).is_empty();
    if is_bounded {
        for (at, amount) in amounts.iter().enumerate().filter(|(_, amount)| **amount > most) {
            let detail = format!("option is larger than capacity value: {most}");
            errors.push(FieldError::invalid(place.index(at), amount.to_string(), detail));
        }
        let keys = amounts.iter().map(|amount| amount.units().to_string().into());
        distinct(keys, &place, errors);
    }
    if !is_bounded || !amounts.contains(&default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(place, default.to_string(), detail));
    }
}

fn range(
    range: &Value,
    default: Quantity,
    most: Quantity,
    path: &FieldPath,
    errors: &mut Findings,
) {
    let amount = |field: &str| Quantity::from_json(&range[field]);
    let Some(min) = amount("min") else {
        let detail = "required when validRange is defined";
        errors.push(FieldError::required(path.child("min"), detail));
        return;
    };
    let (max, step) = (amount("max"), amount("step"));
    let mut unless = |fits: bool, field: &str, shown: Quantity, detail: String| {
        if !fits {
            errors.push(FieldError::invalid(path.child(field), shown.to_string(), detail));
        }
    };
    unless(min <= most, "min", min, format!("min is larger than capacity value: {most}"));
    unless(default >= min, "min", default, format!("default is less than min: {min}"));
    if let Some(max) = max {
        unless(min <= max, "max", min, format!("min is larger than max: {max}"));
        unless(max <= most, "max", max, format!("max is larger than capacity value: {most}"));
        unless(default <= max, "max", default, format!("default is more than max: {max}"));
    }
    let Some(step) = step else { return };
    let first = min + step;
    let detail = format!("one step {first} is larger than capacity value: {most}");
    unless(first <= most, "step", step, detail);
    for value in [Some(default), max].into_iter().flatten() {
        let beyond = value.units().wrapping_sub(min.units());
        let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
        // Upstream divides by any step.
        unless(step.units() != 0 && beyond.wrapping_rem(step.units()) == 0, "step", value, detail);
    }
}
