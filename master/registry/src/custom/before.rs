//! What a value was before an update, found by its place: upstream's correlation (KEP-4008).
//!
//! Fields are found by their names, items of a list of type `map` by their keys; items of other lists are not found,
//! so such a list has changed as a whole or not at all.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::structural::{ListType, Structural};

#[cfg(test)]
thread_local! {
    /// How many values this thread has compared, and keys it has read.
    pub(super) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

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

    /// What the items of a list were; nothing is known of what was no list with keys.
    pub(super) fn items(&self) -> Items<'a> {
        let (list, schema) = (self.value.as_array(), self.schema.items.as_deref());
        match (&self.schema.list_type, list, schema) {
            (ListType::Map(keys), Some(list), Some(_)) if !keys.is_empty() => {
                Items { list, keys, schema, places: OnceCell::new() }
            }
            _ => Items { list: &[], keys: &[], schema: None, places: OnceCell::new() },
        }
    }

    /// Whether nothing has changed. What the schema does not know counts as changed, the order of items that have keys
    /// does not count.
    pub(super) fn is_same(&self, new: &Value) -> bool {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        match (self.value, new) {
            (Value::Array(old), Value::Array(new)) => match &self.schema.list_type {
                ListType::Atomic | ListType::Set => old == new,
                ListType::Map(_) => {
                    let items = self.items();
                    let is_same = |(at, item): (usize, &Value)| {
                        items.find(at, item).is_some_and(|old| old.is_same(item))
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

/// The items that a list had, found by their keys.
#[derive(Debug)]
pub(super) struct Items<'a> {
    list: &'a [Value],
    keys: &'a [String],
    schema: Option<&'a Structural>,
    /// Where each stood; known once the first is looked for that stands elsewhere now.
    places: OnceCell<BTreeMap<Vec<String>, usize>>,
}

impl<'a> Items<'a> {
    /// What an item was that stands at `at` now and has these keys.
    pub(super) fn find(&self, at: usize, new: &Value) -> Option<Before<'a>> {
        let schema = self.schema?;
        let wanted = self.key(new)?;
        // Most stand where they stood.
        let stays = self.list.get(at).filter(|old| self.key(old).as_ref() == Some(&wanted));
        let value = match stays {
            Some(value) => value,
            None => self.list.get(*self.places().get(&wanted)?)?,
        };
        Some(Before { value, schema })
    }

    /// The first of each key counts.
    fn places(&self) -> &BTreeMap<Vec<String>, usize> {
        self.places.get_or_init(|| {
            let mut places = BTreeMap::new();
            for (at, old) in self.list.iter().enumerate() {
                if let Some(key) = self.key(old) {
                    places.entry(key).or_insert(at);
                }
            }
            places
        })
    }

    /// What tells an item apart; `None` if one of its keys is not there, or is no plain value.
    fn key(&self, item: &Value) -> Option<Vec<String>> {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        let plain = |key: &String| {
            let value = item.get(key)?;
            let is_plain = value.is_string() || value.is_number() || value.is_boolean();
            is_plain.then(|| value.to_string())
        };
        self.keys.iter().map(plain).collect()
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
    fn long_lists_are_looked_through_once() {
        let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "properties": {"k": {"type": "integer"}}}});
        let list =
            |of: &mut dyn Iterator<Item = u32>| of.map(|k| json!({"k": k})).collect::<Value>();
        LOOKS.set(0);
        check(schema, list(&mut (0..1_000)), list(&mut (0..1_000).rev()), true);
        // Each item and its field, the key that it has, that of who stands in its place, and all keys once.
        assert_eq!(LOOKS.get(), 1 + 5 * 1_000);
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
