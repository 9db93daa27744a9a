//! The small rules that many kinds share, each with upstream's words.

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

pub(crate) const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Findings of a whole object, gathered while walking it.
pub(crate) type Findings = Vec<FieldError>;

/// A number, where present, must not be negative.
pub(crate) fn not_negative(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    if let Some(number) = meta::number(object, &[field]).filter(|number| *number < 0) {
        errors.push(FieldError::invalid(path.child(field), number, NOT_NEGATIVE));
    }
}

/// A text must be there and well formed.
pub(crate) fn named(
    object: &Value,
    field: &str,
    path: &FieldPath,
    problems: fn(&str) -> Vec<String>,
    errors: &mut Findings,
) {
    match meta::text(object, &[field]) {
        "" => errors.push(FieldError::required(path.child(field), "")),
        _ => well_formed(object, field, path, problems, errors),
    }
}

/// A text, where present, must be well formed.
pub(crate) fn well_formed(
    object: &Value,
    field: &str,
    path: &FieldPath,
    problems: fn(&str) -> Vec<String>,
    errors: &mut Findings,
) {
    let text = meta::text(object, &[field]);
    if !text.is_empty() {
        let found = problems(text).into_iter();
        errors.extend(found.map(|problem| FieldError::invalid(path.child(field), text, problem)));
    }
}

/// A text must be there.
pub(crate) fn required(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    if meta::text(object, &[field]).is_empty() {
        errors.push(FieldError::required(path.child(field), ""));
    }
}

/// A text, where present, must be one of some.
pub(crate) fn one_of(
    object: &Value,
    field: &str,
    path: &FieldPath,
    supported: &[&str],
    errors: &mut Findings,
) {
    let text = meta::text(object, &[field]);
    if !text.is_empty() && !supported.contains(&text) {
        errors.push(FieldError::not_supported(path.child(field), text, supported));
    }
}

/// A text must be there and one of some.
pub(crate) fn required_one_of(
    object: &Value,
    field: &str,
    path: &FieldPath,
    supported: &[&str],
    errors: &mut Findings,
) {
    required(object, field, path, errors);
    one_of(object, field, path, supported, errors);
}

/// A port number that must be there.
pub(crate) fn port(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    match meta::number(object, &[field]) {
        None => errors.push(FieldError::required(path.child(field), "")),
        Some(number) => {
            let problems = names::port_number(number).into_iter();
            errors.extend(
                problems.map(|problem| FieldError::invalid(path.child(field), number, problem)),
            );
        }
    }
}

/// A port by number or name.
pub(crate) fn port_or_name(value: &Value, path: &FieldPath, errors: &mut Findings) {
    let problems = match value {
        Value::Number(number) => names::port_number(number.as_i64().unwrap_or_default()),
        Value::String(name) => names::port_name(name),
        _ => vec!["must be between 1 and 65535, inclusive".to_owned()],
    };
    // Upstream has a zero where nothing was given.
    let shown = if value.is_null() { &Value::from(0) } else { value };
    errors.extend(
        problems
            .into_iter()
            .map(|problem| FieldError::invalid(path.clone(), shown.clone(), problem)),
    );
}

/// A count, or a percentage such as `25%`.
pub(crate) fn count_or_percent(value: &Value, path: &FieldPath, errors: &mut Findings) {
    let is_percent = |text: &str| {
        text.strip_suffix('%').is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid(path.clone(), value.clone(), NOT_NEGATIVE));
        }
        Value::String(text) if !is_percent(text) => {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            errors.push(FieldError::invalid(path.clone(), value.clone(), detail));
        }
        _ => {}
    }
}

/// A field must not differ from what it was.
pub(crate) fn immutable(new: &Value, old: &Value, path: &[&str], errors: &mut Findings) {
    let (is, was) = (meta::at(new, path), meta::at(old, path));
    if is != was {
        let value = is.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(path.join("."), value, IMMUTABLE));
    }
}

/// Amounts by name: valid, and not negative.
pub(crate) fn amounts(amounts: &Value, path: &FieldPath, errors: &mut Findings) {
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        if Quantity::from_json(amount).is_some_and(Quantity::is_negative) {
            errors.push(FieldError::invalid(path.key(name), amount.clone(), NOT_NEGATIVE));
        }
    }
}

/// What is only there whole.
const WHOLE: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// An amount of what its name says: not negative, and whole where there are no parts of it.
pub(crate) fn amount(name: &str, amount: &Value, path: FieldPath, errors: &mut Findings) {
    let Some(parsed) = Quantity::from_json(amount) else { return };
    if parsed.is_negative() {
        errors.push(FieldError::invalid(path.clone(), parsed.to_string(), NOT_NEGATIVE));
    }
    let is_extended = name.contains('/') && !name.contains("kubernetes.io/");
    let is_whole = WHOLE.contains(&name) || is_extended;
    if is_whole && parsed.to_string().ends_with(['m', 'u', 'n']) {
        errors.push(FieldError::invalid(path, parsed.to_string(), "must be an integer"));
    }
}

/// Whether two values are the same, quantities compared as amounts and absence as null or empty.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            let none = Value::Null;
            keys.into_iter()
                .all(|key| same(left.get(key).unwrap_or(&none), right.get(key).unwrap_or(&none)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Null, other) | (other, Value::Null) => match other {
            Value::Null => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        },
        (Value::String(left), Value::String(right)) if left != right => {
            let is_amount = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
            is_amount(left)
                && is_amount(right)
                && matches!((Quantity::parse(left), Quantity::parse(right)), (Ok(l), Ok(r)) if l == r)
        }
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sameness_sees_through_notation() {
        #[rustfmt::skip]
        let cases = [
            (json!({"cpu": "1"}),    json!({"cpu": "1000m"}), true),
            (json!({"cpu": "1"}),    json!({"cpu": "1001m"}), false),
            (json!({"a": {}}),       json!({}),               true),
            (json!({"a": ["x"]}),    json!({"a": ["x", "y"]}), false),
            (json!({"a": "x"}),      json!({"a": "y"}),       false),
            (json!({"a": 1}),        json!({}),               false),
        ];
        for (left, right, expected) in cases {
            assert_eq!(same(&left, &right), expected, "{left} {right}");
            assert_eq!(same(&right, &left), expected, "{right} {left}");
        }
    }
}
