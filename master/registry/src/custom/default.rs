//! Fills the defaults of a schema into an object.

use serde_json::{Map, Value};

use super::structural::{Additional, Structural};

/// Fills what is absent, and what is null where null is not a value.
pub fn fill(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(fields) => fill_fields(fields, schema),
        Value::Array(items) => {
            let Some(of_items) = &schema.items else { return };
            for item in items {
                replace_null(item, of_items);
                fill(item, of_items);
            }
        }
        _ => {}
    }
}

/// Drops nulls where null is no value and no default takes its place: Go's clients send them for what is unset.
pub fn drop_nulls(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let Some(field) = schema.field(name) else { return true };
            if value.is_null() {
                return field.nullable || field.default.is_some();
            }
            drop_nulls(value, field);
            true
        }),
        Value::Array(items) => {
            let Some(of_items) = &schema.items else { return };
            items.iter_mut().for_each(|item| drop_nulls(item, of_items));
        }
        _ => {}
    }
}

fn fill_fields(fields: &mut Map<String, Value>, schema: &Structural) {
    for (name, property) in schema.properties.iter().filter(|(_, property)| property.has_defaults) {
        match fields.get_mut(name) {
            Some(value) => {
                replace_null(value, property);
                fill(value, property);
            }
            None => {
                let Some(default) = &property.default else { continue };
                let mut value = default.clone();
                fill(&mut value, property);
                fields.insert(name.clone(), value);
            }
        }
    }
    if let Additional::Of(values) = &schema.additional {
        let others = fields.iter_mut().filter(|(name, _)| !schema.properties.contains_key(*name));
        for (_, value) in others {
            replace_null(value, values);
            fill(value, values);
        }
    }
}

fn replace_null(value: &mut Value, schema: &Structural) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_stay_only_where_they_are_values() {
        let schema = Structural::compile(&json!({"type": "object", "properties": {
            "a": {"type": "string"}, "n": {"type": "string", "nullable": true},
            "d": {"type": "string", "default": "D"}, "o": {"type": "object", "properties": {"a": {"type": "string"}}}}}));
        let mut object = json!({"a": null, "n": null, "d": null, "o": {"a": null}, "other": null});
        drop_nulls(&mut object, &schema);
        assert_eq!(object, json!({"n": null, "d": null, "o": {}, "other": null}));
    }

    #[test]
    fn defaults_fill_gaps_at_every_depth() {
        let schema = Structural::compile(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "A"},
            "n": {"type": "string", "default": "N", "nullable": true},
            "deep": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 1}}},
            "unset": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "boolean", "default": false}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "default": "M"}}}}));
        #[rustfmt::skip]
        let cases = [
            (json!({}),                          json!({"a": "A", "n": "N", "deep": {"b": 1}})),
            (json!({"a": null, "n": null, "deep": {"b": 2}}), json!({"a": "A", "n": null, "deep": {"b": 2}})),
            (json!({"a": "x", "n": "y", "deep": {}, "unset": {}, "list": [{}, {"c": true}]}),
             json!({"a": "x", "n": "y", "deep": {"b": 1}, "unset": {"b": 1}, "list": [{"c": false}, {"c": true}]})),
            (json!({"a": "x", "n": "y", "deep": {"b": 2}, "map": {"k": null, "l": "v"}}),
             json!({"a": "x", "n": "y", "deep": {"b": 2}, "map": {"k": "M", "l": "v"}})),
        ];
        for (mut object, expected) in cases {
            fill(&mut object, &schema);
            assert_eq!(object, expected);
            fill(&mut object, &schema);
            assert_eq!(object, expected, "a second time changes nothing");
        }
    }
}
