//! Whether an applied configuration is of its type, and can be told apart field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Atom, Form, Kind, Shape, entry, fields, form, items, step};
use super::step;

/// What is wrong with a configuration: fields that nobody declared, items without keys or with the same.
///
/// Each finding begins with its path, as upstream writes it: `.spec.replicsa: field not declared in schema`.
pub fn validate<'a, S: Shape<'a>>(shape: Option<S>, config: &Value) -> Result<(), String> {
    let mut findings = Vec::new();
    walk(shape, config, &mut Vec::new(), &mut findings);
    match findings.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => {
            let lines: Vec<String> = several.iter().map(|text| format!("  {text}")).collect();
            Err(format!("errors:\n{}", lines.join("\n")))
        }
    }
}

fn walk<'a, S: Shape<'a>>(
    shape: Option<S>,
    value: &Value,
    path: &mut Vec<String>,
    findings: &mut Vec<String>,
) {
    let form = form(shape, [Some(value), None]);
    match form {
        Form::Leaf => {
            let problem = shape.and_then(|shape| misfit(shape.kind(), value));
            findings.extend(problem.map(|problem| format!("{}: {problem}", step::shown(path))));
        }
        Form::Object => {
            let is_closed =
                shape.is_some_and(|s| s.atom() == Atom::Struct { keeps_unknown: false });
            for (name, value) in fields(Some(value)) {
                let (inner, is_named) = entry(shape, name);
                path.push(step::field(name));
                if is_closed && !is_named {
                    findings.push(format!("{}: field not declared in schema", step::shown(path)));
                } else {
                    walk(inner, value, path, findings);
                }
                path.pop();
            }
        }
        Form::Set | Form::Keyed(_) => {
            let mut seen = BTreeSet::new();
            for (at, item) in items(Some(value)).iter().enumerate() {
                let here = step::shown(path);
                match step(form, item) {
                    Err(problem) => findings.push(format!("{here}: element {at}: {problem}")),
                    Ok(step) => {
                        path.push(step.clone());
                        walk(shape.and_then(Shape::item), item, path, findings);
                        path.pop();
                        if !seen.insert(step.clone()) {
                            let key = step::shown(&[step]);
                            findings.push(format!("{here}: duplicate entries for key {key}"));
                        }
                    }
                }
            }
        }
    }
}

/// What is wrong with a value of a kind, as upstream's library for merging tells it: in Go's words for values.
fn misfit(kind: Kind, value: &Value) -> Option<String> {
    let is_scalar = value.is_string() || value.is_number() || value.is_boolean();
    let (fits, problem) = match kind {
        Kind::Any => return None,
        Kind::Text => {
            let shown = format!("&value.valueUnstructured{{Value:{}}}", syntax(value));
            (value.is_string(), format!("expected string, got {shown}"))
        }
        Kind::Number => {
            let found = go_type(value);
            (value.is_number(), format!("expected numeric (int or float), got {found}"))
        }
        Kind::Bool => (value.is_boolean(), format!("expected boolean, got {}", shown(value))),
        Kind::Scalar => (is_scalar, format!("expected any scalar, got {}", shown(value))),
        Kind::List => (value.is_array(), format!("expected list, got {}", shown(value))),
        Kind::Object => (value.is_object(), format!("expected map, got {}", shown(value))),
    };
    (!fits && !value.is_null()).then_some(problem)
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `%#v`.
fn syntax(value: &Value) -> String {
    let inner = match value {
        Value::Array(items) => items.iter().map(syntax).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let entry = |(key, value): (&String, &Value)| format!("{key:?}:{}", syntax(value));
            fields.iter().map(entry).collect::<Vec<_>>().join(", ")
        }
        Value::Null => return "interface {}(nil)".to_owned(),
        scalar => return scalar.to_string(),
    };
    format!("{}{{{inner}}}", go_type(value))
}

/// `%v`.
fn shown(value: &Value) -> String {
    fn plain(value: &Value) -> String {
        match value {
            Value::Null => "<nil>".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
            }
            Value::Object(fields) => {
                let entry = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
                format!("map[{}]", fields.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
            scalar => scalar.to_string(),
        }
    }
    format!("&{{{}}}", plain(value))
}
