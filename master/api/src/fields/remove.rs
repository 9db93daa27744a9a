//! An object without some of its fields.

use serde_json::{Map, Value};

use super::set::Set;
use super::shape::{Form, Shape, entry, fields, form, items, step};
use super::step;

/// `value` without the fields of a set; what is emptied by that goes, too.
pub(super) fn remove<'a, S: Shape<'a>>(shape: Option<S>, value: &Value, gone: &Set) -> Value {
    let form = form(shape, [Some(value), None]);
    match form {
        Form::Leaf => Value::Null,
        Form::Object => {
            let mut kept = Map::new();
            for (name, value) in fields(Some(value)) {
                let step = step::field(name);
                if let Some(value) = left(entry(shape, name).0, value, &step, gone) {
                    kept.insert(name.clone(), value);
                }
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Form::Set | Form::Keyed(_) => {
            let inner = shape.and_then(Shape::item);
            let mut kept = Vec::new();
            for item in items(Some(value)) {
                match step(form, item) {
                    Ok(step) => kept.extend(left(inner, item, &step, gone)),
                    Err(_) => kept.push(item.clone()),
                }
            }
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
    }
}

/// What is left of a value behind a step.
fn left<'a, S: Shape<'a>>(
    shape: Option<S>,
    value: &Value,
    step: &str,
    gone: &Set,
) -> Option<Value> {
    if gone.has(step) {
        return None;
    }
    if !gone.has_below(step) {
        return Some(value.clone());
    }
    Some(remove(shape, value, &gone.below(step))).filter(|value| !value.is_null())
}
