//! Short ways to read and write the metadata of JSON objects.
//!
//! An absent or wrongly typed field reads as empty: shapes are refused by the schema, not here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::time;

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's uid: another object of the same name is no owner.
    pub uid: String,
    /// Whether this owner manages the object.
    pub is_controller: bool,
    /// Whether the owner's foreground deletion waits for the object.
    pub blocks_deletion: bool,
}

/// The string under a path of keys, or "".
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer under a path of keys.
pub fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// Whether the field under a path of keys is `true`.
pub fn is_true(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the array under a path of keys.
pub fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value under a path of keys, unless absent or null.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(*key)).filter(|value| !value.is_null())
}

/// The object under a path of keys, made where it is absent.
pub fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let found = path.iter().fold(value, |value, key| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        &mut value[*key]
    });
    if !found.is_object() {
        *found = Value::Object(Map::new());
    }
    found.as_object_mut().expect("made an object one line above")
}

/// Sets one metadata field; null removes it.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    let metadata = object_mut(object, &["metadata"]);
    match value.into() {
        Value::Null => {
            metadata.remove(field);
        }
        value => {
            metadata.insert(field.to_owned(), value);
        }
    }
}

/// `v1`, `apps/v1`.
pub fn api_version(object: &Value) -> &str {
    text(object, &["apiVersion"])
}

/// `Pod`.
pub fn kind(object: &Value) -> &str {
    text(object, &["kind"])
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    text(object, &["metadata", "generateName"])
}

/// Empty for a cluster-scoped object.
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// `metadata.resourceVersion`, opaque.
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// `metadata.generation`, or 0.
pub fn generation(object: &Value) -> i64 {
    number(object, &["metadata", "generation"]).unwrap_or_default()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    time::parse(text(object, &["metadata", "creationTimestamp"]))
}

/// `metadata.deletionTimestamp`: when the object is to be gone.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    time::parse(text(object, &["metadata", "deletionTimestamp"]))
}

/// Whether a delete was accepted that finalizers or grace still hold up.
pub fn is_terminating(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    number(object, &["metadata", "deletionGracePeriodSeconds"])
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    items(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    strings(object, &["metadata", "labels"])
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    strings(object, &["metadata", "annotations"])
}

/// One label's value, or "".
pub fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", "labels", key])
}

/// One annotation's value, or "".
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", "annotations", key])
}

/// The string map under a path of keys.
pub fn strings(object: &Value, path: &[&str]) -> BTreeMap<String, String> {
    let entries = at(object, path).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> Vec<OwnerReference> {
    let owner = |value: &Value| OwnerReference {
        api_version: text(value, &["apiVersion"]).to_owned(),
        kind: text(value, &["kind"]).to_owned(),
        name: text(value, &["name"]).to_owned(),
        uid: text(value, &["uid"]).to_owned(),
        is_controller: is_true(value, &["controller"]),
        blocks_deletion: is_true(value, &["blockOwnerDeletion"]),
    };
    items(object, &["metadata", "ownerReferences"]).iter().map(owner).collect()
}

/// The owner that controls the object.
pub fn controller(object: &Value) -> Option<OwnerReference> {
    owner_references(object).into_iter().find(|owner| owner.is_controller)
}

/// `namespace/name`, or `name` for a cluster-scoped object: the key of informers and queues.
pub fn key(object: &Value) -> String {
    match namespace(object) {
        "" => name(object).to_owned(),
        namespace => format!("{namespace}/{}", name(object)),
    }
}

/// Group and version of an `apiVersion`: `("", "v1")`, `("apps", "v1")`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The `apiVersion` of a group and version.
pub fn join_api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_metadata_reads_as_empty() {
        let object = json!({"metadata": {"name": 5}});
        assert_eq!((name(&object), namespace(&object), generation(&object)), ("", "", 0));
        assert!(owner_references(&Value::Null).is_empty());
        assert!(!is_terminating(&json!({"metadata": {"deletionTimestamp": null}})));
    }

    #[test]
    fn set_makes_metadata_and_null_removes() {
        let mut object = json!({});
        set(&mut object, "name", "x");
        set(&mut object, "uid", "y");
        set(&mut object, "uid", Value::Null);
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
    }
}
