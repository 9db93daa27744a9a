//! What a value was before an update, found by its place: upstream's correlation (KEP-4008).
//!
//! Fields are found by their names, items of a list of type `map` by their keys; items of other lists are not found,
//! so such a list has changed as a whole or not at all.

use serde_json::Value;

use super::structural::{ListType, Structural};

/// An old value, with the schema that says how its items are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    schema: &'a Structural,
    pub(super) value: &'a Value,
}

impl<'a> Before<'a> {
    pub(super) fn new(schema: &'a Structural, value: &'a Value) -> Self {
        Self { schema, value }
    }

    /// What a field was; `None` too if the schema does not know it.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        Some(Self { value: self.value.get(name)?, schema: self.schema.field(name)? })
    }

    /// What an item was that stands at `at` now and has these keys.
    pub(super) fn item(&self, at: usize, new: &Value) -> Option<Self> {
        let ListType::Map(keys) = &self.schema.list_type else { return None };
        let is_key = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let has_same = |old: &&Value, key: &String| match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => is_key(new) && old == new,
            _ => false,
        };
        let is_it = |old: &&Value| !keys.is_empty() && keys.iter().all(|key| has_same(old, key));
        let all = self.value.as_array()?;
        // Most stand where they stood.
        let value = all.get(at).filter(is_it).or_else(|| all.iter().find(is_it))?;
        Some(Self { value, schema: self.schema.items.as_deref()? })
    }

    /// Whether nothing has changed. What the schema does not know counts as changed, the order of items that have keys
    /// does not count.
    pub(super) fn is_same(&self, new: &Value) -> bool {
        match (self.value, new) {
            (Value::Array(old), Value::Array(new)) => match &self.schema.list_type {
                ListType::Atomic | ListType::Set => old == new,
                ListType::Map(_) => {
                    let is_same = |(at, item): (usize, &Value)| {
                        self.item(at, item).is_some_and(|old| old.is_same(item))
                    };
                    old.len() == new.len() && new.iter().enumerate().all(is_same)
                }
            },
            (Value::Object(old), Value::Object(new)) => {
                let mut fields = new.iter();
                old.len() == new.len()
                    && fields
                        .all(|(name, new)| self.field(name).is_some_and(|old| old.is_same(new)))
            }
            (old, new) => old == new,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, old: Value, new: Value, is_same: bool) {
        let schema = Structural::compile(&schema);
        assert_eq!(Before::new(&schema, &old).is_same(&new), is_same, "{old} and {new}");
    }

    #[test]
    fn lists_are_the_same_by_their_type() {
        let item = json!({"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}});
        let list = |kind: &str| json!({"type": "array", "items": item, "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["k"]});
        let (old, turned) =
            (json!([{"k": "a", "v": 1}, {"k": "b"}]), json!([{"k": "b"}, {"k": "a", "v": 1}]));
        check(list("map"), old.clone(), turned.clone(), true);
        check(list("map"), old.clone(), json!([{"k": "a", "v": 2}, {"k": "b"}]), false);
        check(list("map"), old.clone(), json!([{"k": "a", "v": 1}, {"k": "c"}]), false);
        check(list("atomic"), old.clone(), old.clone(), true);
        check(list("atomic"), old, turned, false);
        check(
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "b"]),
            json!(["b", "a"]),
            false,
        );
    }

    #[test]
    fn what_no_schema_knows_counts_as_changed() {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}});
        check(schema.clone(), json!({"a": "x"}), json!({"a": "x"}), true);
        check(schema, json!({"a": "x", "b": 1}), json!({"a": "x", "b": 1}), false);
        let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        check(map.clone(), json!({"a": 1}), json!({"a": 1}), true);
        check(map, json!({"a": 1}), json!({"b": 1}), false);
    }
}
