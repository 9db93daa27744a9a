//! Whether an applied configuration can be told apart field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Atom, Form, Shape, entry, fields, form, items, step};
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
        Form::Leaf => {}
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
