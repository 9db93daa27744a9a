//! Holds an object against its schema: types, bounds, formats, combinations.
//!
//! Words and order are those of upstream's validator (kube-openapi `pkg/validation/validate`).
//!
//! # Invariants
//! - What an update leaves as it was is not held against it ("ratcheting", KEP-4008): a value that is
//!   the same as before has no findings at or below it.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use super::before::Before;
use super::format;
use super::structural::{Additional, Checks, Structural, Type};

/// Findings of one object at most: enough to see what is wrong.
const FINDINGS_MAX: usize = 100;

/// What is wrong with an object; `old` is what it was before an update.
pub fn validate(schema: &Structural, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    walk(schema, new, old.map(|old| Before::new(schema, old)), "", &mut found);
    found.truncate(FINDINGS_MAX);
    found
}

/// What is wrong with the status of an object that a write of it brings, told below `status` as upstream tells it: by a
/// schema that knows nothing above it.
pub fn validate_status(schema: &Structural, new: &Value, old: &Value) -> Vec<FieldError> {
    let (Some(schema), Some(new)) = (schema.properties.get("status"), new.get("status")) else {
        return Vec::new();
    };
    let old = old.get("status").map(|old| Before::new(schema, old));
    let mut found = Vec::new();
    walk(schema, new, old, "", &mut found);
    found.truncate(FINDINGS_MAX);
    for error in &mut found {
        let place = FieldPath::new("status");
        let is_all = error.field == field("");
        error.field = if is_all { place.into() } else { place.child(&error.field).into() };
    }
    found
}

/// What is wrong with a value on its own.
pub fn validate_value(schema: &Structural, value: &Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    walk(schema, value, None, "", &mut found);
    found
}

fn walk(
    schema: &Structural,
    value: &Value,
    old: Option<Before<'_>>,
    path: &str,
    found: &mut Vec<FieldError>,
) {
    if !old.is_some_and(|old| old.is_same(value)) {
        changed(schema, value, old, path, found);
    }
}

/// Holds a value that is not what it was against a schema.
fn changed(
    schema: &Structural,
    value: &Value,
    old: Option<Before<'_>>,
    path: &str,
    found: &mut Vec<FieldError>,
) {
    if found.len() >= FINDINGS_MAX {
        return;
    }
    if let Some(error) = wrong_type(schema, value, path) {
        found.push(error);
        if value.is_number() && schema.kind == Some(Type::Integer) {
            found.push(no_integer("Checked", &schema.checks.format, path));
        }
        return;
    }
    combinations(&schema.checks, value, path, found);
    match value {
        Value::String(text) => text_checks(&schema.checks, text, path, found),
        Value::Number(_) => {
            let is_whole = schema.kind == Some(Type::Integer);
            number_checks(&schema.checks, is_whole, value, path, found);
        }
        Value::Array(items) => list(schema, items, old, path, found),
        Value::Object(fields) => object(schema, fields, old, path, found),
        Value::Null | Value::Bool(_) => {}
    }
    if !schema.checks.allowed.is_empty()
        && (schema.nullable || !value.is_null())
        && !is_allowed(&schema.checks, value)
    {
        found.push(not_allowed(&schema.checks, value, path));
    }
}

fn wrong_type(schema: &Structural, value: &Value, path: &str) -> Option<FieldError> {
    if schema.int_or_string {
        let fits = value.is_string() || is_integer(value) || (value.is_null() && schema.nullable);
        return (!fits).then(|| mismatch(path, "integer,string", found_type(value)));
    }
    let kind = schema.kind?;
    let fits = match kind {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::Text => value.is_string(),
        Type::Integer => is_integer(value),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
    };
    let is_null = value.is_null() && schema.nullable;
    (!fits && !is_null).then(|| mismatch(path, kind.name(), found_type(value)))
}

fn mismatch(path: &str, wanted: &str, found: &str) -> FieldError {
    let detail = format!("{path} in body must be of type {wanted}: {found:?}");
    FieldError::type_invalid(field(path), found, detail)
}

/// Findings about the whole object have no field, which Go prints as a nil path.
fn field(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn found_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// `allOf`, `anyOf`, `oneOf`, `not`: as upstream, whatever has changed, if the value has.
fn combinations(checks: &Checks, value: &Value, path: &str, found: &mut Vec<FieldError>) {
    let of = |schema: &Structural| {
        let mut errors = Vec::new();
        changed(schema, value, None, path, &mut errors);
        errors
    };
    let mut complain = |detail: String| found.push(FieldError::invalid("<nil>", "", detail));
    if !checks.any_of.is_empty() {
        let outcomes: Vec<_> = checks.any_of.iter().map(of).collect();
        if outcomes.iter().all(|errors| !errors.is_empty()) {
            complain(format!("{path:?} must validate at least one schema (anyOf)"));
            found.extend(best(outcomes));
        }
    }
    let mut complain = |detail: String| found.push(FieldError::invalid("<nil>", "", detail));
    if !checks.one_of.is_empty() {
        let outcomes: Vec<_> = checks.one_of.iter().map(of).collect();
        let valid = outcomes.iter().filter(|errors| errors.is_empty()).count();
        let text = format!("{path:?} must validate one and only one schema (oneOf)");
        if valid == 0 {
            complain(format!("{text}. Found none valid"));
            found.extend(best(outcomes));
        } else if valid > 1 {
            complain(format!("{text}. Found {valid} valid alternatives"));
        }
    }
    if !checks.all_of.is_empty() {
        let outcomes: Vec<_> = checks.all_of.iter().map(of).collect();
        let valid = outcomes.iter().filter(|errors| errors.is_empty()).count();
        found.extend(outcomes.into_iter().flatten());
        if valid < checks.all_of.len() {
            let more = if valid == 0 { ". None validated" } else { "" };
            let detail = format!("{path:?} must validate all the schemas (allOf){more}");
            found.push(FieldError::invalid("<nil>", "", detail));
        }
    }
    if let Some(not) = &checks.not
        && of(not).is_empty()
    {
        let detail = format!("{path:?} must not validate the schema (not)");
        found.push(FieldError::invalid("<nil>", "", detail));
    }
}

/// The findings of the alternative that comes closest.
fn best(outcomes: Vec<Vec<FieldError>>) -> Vec<FieldError> {
    outcomes.into_iter().min_by_key(Vec::len).unwrap_or_default()
}

fn text_checks(checks: &Checks, text: &str, path: &str, found: &mut Vec<FieldError>) {
    let length = || text.chars().count() as u64;
    if let Some(max) = checks.length_max
        && length() > max
    {
        found.push(FieldError::too_long(field(path), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = checks.length_min
        && length() < min
    {
        found.push(invalid(path, text, format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = &checks.pattern
        && !pattern.is_match(text)
    {
        found.push(invalid(path, text, format!("should match '{pattern}'")));
    }
    if !checks.format.is_empty() && !format::fits(&checks.format, text) {
        let detail = format!("{path} in body must be of type {}: {text:?}", checks.format);
        found.push(FieldError::type_invalid(field(path), text, detail));
    }
}

fn invalid(path: &str, value: impl Into<Value>, what: impl AsRef<str>) -> FieldError {
    FieldError::invalid(field(path), value, format!("{path} in body {}", what.as_ref()))
}

/// A number that is not of the type, or format, that integers have here; which is told without a field.
fn no_integer(what: &str, format: &str, path: &str) -> FieldError {
    let of = if format.is_empty() {
        "(default format)".to_owned()
    } else {
        format!("with format {format}")
    };
    let detail = format!("{what} value must be of type integer {of} in {path}");
    FieldError::invalid("<nil>", "", detail)
}

fn number_checks(
    checks: &Checks,
    is_whole: bool,
    value: &Value,
    path: &str,
    found: &mut Vec<FieldError>,
) {
    let Some(number) = value.as_f64() else { return };
    let bounds = [("Maximum boundary", &checks.maximum), ("Minimum boundary", &checks.minimum)];
    for (what, bound) in bounds.iter().filter(|_| is_whole) {
        let fraction = bound.as_ref().and_then(serde_json::Number::as_f64).map(f64::fract);
        if fraction.is_some_and(|fraction| fraction != 0.0) {
            found.push(no_integer(what, &checks.format, path));
        }
    }
    let mut complain = |what: String| found.push(invalid(path, value.clone(), what));
    if let Some(max) = checks.maximum.as_ref().and_then(serde_json::Number::as_f64) {
        let shown = checks.maximum.as_ref().map(ToString::to_string).unwrap_or_default();
        if checks.excludes_maximum && number >= max {
            complain(format!("should be less than {shown}"));
        } else if number > max {
            complain(format!("should be less than or equal to {shown}"));
        }
    }
    if let Some(min) = checks.minimum.as_ref().and_then(serde_json::Number::as_f64) {
        let shown = checks.minimum.as_ref().map(ToString::to_string).unwrap_or_default();
        if checks.excludes_minimum && number <= min {
            complain(format!("should be greater than {shown}"));
        } else if number < min {
            complain(format!("should be greater than or equal to {shown}"));
        }
    }
    if let Some(of) = checks.multiple_of.as_ref().and_then(serde_json::Number::as_f64)
        && of > 0.0
        && (number / of).fract() != 0.0
    {
        complain(format!("should be a multiple of {of}"));
    }
    let range = match checks.format.as_str() {
        "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        "int64" if !value.is_i64() && is_integer(value) => Some((-9.3e18, 9.2e18)),
        _ => None,
    };
    if range.is_some_and(|(min, max)| number < min || number > max) {
        found.push(no_integer("Checked", &checks.format, path));
    }
}

fn list(
    schema: &Structural,
    items: &[Value],
    old: Option<Before<'_>>,
    path: &str,
    found: &mut Vec<FieldError>,
) {
    let checks = &schema.checks;
    let count = items.len() as u64;
    if let Some(min) = checks.items_min
        && count < min
    {
        found.push(invalid(path, items.len(), format!("should have at least {min} items")));
    }
    if let Some(max) = checks.items_max
        && count > max
    {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        found.push(FieldError::too_many(field(path), items.len(), max));
    }
    if let Some(of_items) = &schema.items {
        let old = old.map(|old| old.items());
        for (at, item) in items.iter().enumerate() {
            let before = old.as_ref().and_then(|old| old.find(at, item));
            walk(of_items, item, before, &format!("{path}[{at}]"), found);
        }
    }
}

fn object(
    schema: &Structural,
    fields: &Map<String, Value>,
    old: Option<Before<'_>>,
    path: &str,
    found: &mut Vec<FieldError>,
) {
    let checks = &schema.checks;
    let count = fields.len() as u64;
    if let Some(min) = checks.properties_min
        && count < min
    {
        found.push(invalid(path, fields.len(), format!("should have at least {min} properties")));
    }
    if let Some(max) = checks.properties_max
        && count > max
    {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        found.push(FieldError::too_many(field(path), fields.len(), max));
    }
    for name in checks.required.iter().filter(|name| !fields.contains_key(*name)) {
        found.push(FieldError::required(below(path, name), ""));
    }
    for (name, value) in fields {
        let of_field = match (schema.properties.get(name), &schema.additional) {
            (Some(property), _) => property,
            (None, Additional::Of(values)) => values,
            (None, Additional::None | Additional::Any) => continue,
        };
        let before = old.and_then(|old| old.field(name));
        walk(of_field, value, before, &below(path, name), found);
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn is_allowed(checks: &Checks, value: &Value) -> bool {
    checks.allowed.iter().any(|allowed| {
        allowed == value
            || matches!((allowed.as_f64(), value.as_f64()), (Some(left), Some(right)) if left == right)
    })
}

fn not_allowed(checks: &Checks, value: &Value, path: &str) -> FieldError {
    let names: Vec<String> = checks.allowed.iter().map(ToString::to_string).collect();
    let mut error = FieldError::not_supported(field(path), value.clone(), &[]);
    error.detail = format!("supported values: {}", names.join(", "));
    error
}
