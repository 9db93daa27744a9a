//! One step of a field's path, as `FieldsV1` writes it: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`.

use serde_json::{Map, Value};

use super::shape::Key;

/// The step to a field of an object, or to an entry of a map.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The step to the item of a set.
///
/// # Errors
/// Why the value cannot be one.
pub(super) fn value(item: &Value) -> Result<String, String> {
    match item {
        Value::Object(_) => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => {
            Err("associative list without keys has an element that's an explicit null".to_owned())
        }
        scalar => Ok(format!("v:{scalar}")),
    }
}

/// The step to an item that is known by the values of some of its fields.
///
/// # Errors
/// Why the item has no such values.
pub(super) fn keyed(item: &Value, keys: &[Key]) -> Result<String, String> {
    let Value::Object(fields) = item else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let mut step = String::from("k:{");
    for (at, key) in keys.iter().enumerate() {
        let found = fields.get(&*key.name).filter(|value| !value.is_null());
        let value = found.or(key.default.as_ref()).ok_or_else(|| {
            format!(
                "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                key.name
            )
        })?;
        let comma = if at == 0 { "" } else { "," };
        step.push_str(&format!("{comma}{}:{value}", Value::from(&*key.name)));
    }
    step.push('}');
    Ok(step)
}

/// Whether the kind of step is one that we know.
pub(super) fn is_known(step: &str) -> bool {
    matches!(step.get(..2), Some("f:" | "k:" | "v:" | "i:"))
}

/// The step as we would have written it; `None` where it is malformed.
pub(super) fn canonical(step: &str) -> Option<String> {
    let (kind, text) = step.split_at_checked(2)?;
    match kind {
        "f:" => Some(step.to_owned()),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(text).ok()?;
            Some(format!("k:{}", Value::Object(keys)))
        }
        "v:" => Some(format!("v:{}", serde_json::from_str::<Value>(text).ok()?)),
        "i:" => text.parse::<usize>().ok().map(|index| format!("i:{index}")),
        _ => None,
    }
}

/// A path for a person: `.spec.containers[name="a"].image`.
pub(super) fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        let (kind, rest) = step.split_at(2);
        match kind {
            "k:" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                text.push_str(&format!("[{}]", keys.join(",")));
            }
            "v:" => text.push_str(&format!("[={rest}]")),
            "i:" => text.push_str(&format!("[{rest}]")),
            _ => {
                text.push('.');
                text.push_str(rest);
            }
        }
    }
    text
}
