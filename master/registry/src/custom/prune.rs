//! Drops the fields that a schema does not know, as upstream's structural pruning does.

use serde_json::{Map, Value};

use super::structural::{Additional, Structural};

/// How many dropped fields are named at most.
const FINDINGS_MAX: usize = 100;
/// What every object has, whatever its schema says.
const OF_OBJECTS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops unknown fields of a whole object; returns their paths, in order.
pub fn prune(object: &mut Value, schema: &Structural) -> Vec<String> {
    let mut dropped = Vec::new();
    if let Value::Object(fields) = object {
        walk_fields(fields, Some(schema), Place::Root, &mut String::new(), &mut dropped);
    }
    dropped
}

/// Drops unknown fields of a value that is no whole object, for instance a default.
pub fn prune_value(value: &mut Value, schema: &Structural) -> Vec<String> {
    let mut dropped = Vec::new();
    walk(value, Some(schema), Place::Within, &mut String::new(), &mut dropped);
    dropped
}

/// Where a value stands, which says what it may hold beside what its own schema does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Within,
    /// An item of a list that keeps what it does not know: so does the item.
    Kept,
}

fn walk(
    value: &mut Value,
    schema: Option<&Structural>,
    place: Place,
    path: &mut String,
    dropped: &mut Vec<String>,
) {
    match value {
        Value::Object(fields) => walk_fields(fields, schema, place, path, dropped),
        Value::Array(items) => {
            let keeps =
                place == Place::Kept || schema.is_some_and(|schema| schema.preserves_unknown);
            let of_items = schema.and_then(|schema| schema.items.as_deref());
            if of_items.is_none() && keeps {
                return;
            }
            let place = if keeps { Place::Kept } else { Place::Within };
            for (at, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{at}]"));
                walk(item, of_items, place, path, dropped);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn walk_fields(
    fields: &mut Map<String, Value>,
    schema: Option<&Structural>,
    place: Place,
    path: &mut String,
    dropped: &mut Vec<String>,
) {
    let is_object = place == Place::Root || schema.is_some_and(|schema| schema.embedded);
    fields.retain(|key, value| {
        if is_object && OF_OBJECTS.contains(&key.as_str()) {
            return true;
        }
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        let known = schema.and_then(|schema| schema.properties.get(key));
        let keeps = match (known, schema.map(|schema| (&schema.additional, schema))) {
            (Some(known), _) => {
                walk(value, Some(known), Place::Within, path, dropped);
                true
            }
            (None, Some((Additional::Of(values), _))) => {
                walk(value, Some(values), Place::Within, path, dropped);
                true
            }
            // Any value may stand there, but no schema knows the fields within it.
            (None, Some((Additional::Any, _))) => {
                walk(value, None, Place::Within, path, dropped);
                true
            }
            (None, Some((Additional::None, schema))) => {
                schema.preserves_unknown || place == Place::Kept
            }
            (None, None) => false,
        };
        if !keeps && dropped.len() < FINDINGS_MAX {
            dropped.push(path.clone());
        }
        path.truncate(length);
        keeps
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Value, mut object: Value, expected: Value, dropped: &[&str]) {
        let found = prune(&mut object, &Structural::compile(&schema));
        assert_eq!(object, expected);
        assert_eq!(found, dropped);
    }

    #[test]
    fn any_value_may_come_where_additional_ones_may_but_fields_within_it_are_unknown() {
        let schema = json!({"type": "object", "properties": {
            "open": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true},
            "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "additionalProperties": true},
        }});
        check(
            schema,
            json!({"open": {"a": "1", "b": 2, "c": {"d": 3}, "e": [4, {"f": 5}]}, "kept": {"g": {"h": 6}}}),
            json!({"open": {"a": "1", "b": 2, "c": {}, "e": [4, {}]}, "kept": {"g": {}}}),
            &["kept.g.h", "open.c.d", "open.e[1].f"],
        );
    }

    #[test]
    fn items_of_a_list_that_keeps_what_it_does_not_know_keep_it_too() {
        let item = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        let lists = json!({"type": "array", "items": {"type": "array", "items": item}});
        let kept =
            json!({"type": "array", "items": item, "x-kubernetes-preserve-unknown-fields": true});
        let mut all = lists.clone();
        all["x-kubernetes-preserve-unknown-fields"] = json!(true);
        let schema =
            json!({"type": "object", "properties": {"kept": kept, "all": all, "lists": lists}});
        check(
            schema,
            json!({"kept": [{"b": 1, "a": {"c": 1}}], "all": [[{"b": {"d": 1}}]], "lists": [[{"b": 1}]]}),
            json!({"kept": [{"b": 1, "a": {}}], "all": [[{"b": {"d": 1}}]], "lists": [[{}]]}),
            &["kept[0].a.c", "lists[0][0].b"],
        );
    }

    #[test]
    fn unknown_fields_go_and_known_ones_stay() {
        let spec = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
        let text = json!({"type": "string"});
        check(
            spec(json!({"type": "object", "properties": {"a": text}})),
            json!({"kind": "K", "metadata": {"name": "x"}, "spec": {"a": "1", "b": 2}, "more": 1}),
            json!({"kind": "K", "metadata": {"name": "x"}, "spec": {"a": "1"}}),
            &["more", "spec.b"],
        );
        check(
            spec(
                json!({"type": "object", "additionalProperties": {"type": "object", "properties": {"a": text}}}),
            ),
            json!({"spec": {"x": {"a": "1", "b": 1}}}),
            json!({"spec": {"x": {"a": "1"}}}),
            &["spec.x.b"],
        );
        check(
            spec(json!({"type": "array", "items": {"type": "object", "properties": {"a": text}}})),
            json!({"spec": [{"a": "1"}, {"b": "1"}]}),
            json!({"spec": [{"a": "1"}, {}]}),
            &["spec[1].b"],
        );
        check(
            spec(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"a": {"type": "object"}}})),
            json!({"spec": {"b": {"c": 1}, "a": {"d": 1}}}),
            json!({"spec": {"b": {"c": 1}, "a": {}}}),
            &["spec.a.d"],
        );
        check(
            spec(
                json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}),
            ),
            json!({"spec": {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "n"}, "spec": {}, "x": 1}}),
            json!({"spec": {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "n"}, "spec": {}}}),
            &["spec.x"],
        );
    }
}
