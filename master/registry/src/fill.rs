//! Filling gaps in JSON objects: what defaulting is made of.

use serde_json::{Map, Value};

/// Sets a field that is absent or null.
pub(crate) fn absent(object: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if object.get(field).is_none_or(Value::is_null) {
        object.insert(field.to_owned(), value.into());
    }
}

/// Sets a field that is absent, null, "" or 0: one that Go cannot tell from unset.
pub(crate) fn zero(object: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let is_zero = match object.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(_) => false,
    };
    if is_zero {
        object.insert(field.to_owned(), value.into());
    }
}

/// The object in a field, if it is one.
pub(crate) fn object<'a>(
    parent: &'a mut Map<String, Value>,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    parent.get_mut(field)?.as_object_mut()
}

/// The object in a field, made where it is absent.
pub(crate) fn made<'a>(
    parent: &'a mut Map<String, Value>,
    field: &str,
) -> &'a mut Map<String, Value> {
    absent(parent, field, Map::new());
    let slot = parent.get_mut(field).expect("made one line above");
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made one line above")
}

/// The objects in a field that is a list.
pub(crate) fn objects<'a>(
    parent: &'a mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = parent.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut)
}
