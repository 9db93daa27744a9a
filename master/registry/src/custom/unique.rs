//! Lists of type `set` and `map` hold nothing twice: upstream's rules for them (apiextensions `schema/listtype`).

use std::collections::BTreeMap;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use super::structural::{Additional, ListType, Structural};

/// What is twice in lists, each told once.
pub(super) fn check(schema: &Structural, value: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut found = Vec::new();
    walk(schema, value, path, &mut found);
    found
}

fn walk(schema: &Structural, value: &Value, path: &FieldPath, found: &mut Vec<FieldError>) {
    if !schema.has_unique {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => walk(property, value, &path.child(name), found),
                    (None, Additional::Of(values)) => walk(values, value, &path.key(name), found),
                    (None, Additional::None | Additional::Any) => {}
                }
            }
        }
        Value::Array(items) => {
            list(&schema.list_type, items, path, found);
            let Some(of_items) = &schema.items else { return };
            for (at, item) in items.iter().enumerate() {
                walk(of_items, item, &path.index(at), found);
            }
        }
        _ => {}
    }
}

fn list(kind: &ListType, items: &[Value], path: &FieldPath, found: &mut Vec<FieldError>) {
    let keys: Vec<Value> = match kind {
        ListType::Atomic => return,
        ListType::Set => items.to_vec(),
        ListType::Map(names) => {
            let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
            if let Some(at) = odd {
                let detail = "must be an object for an array of list-type map";
                found.push(FieldError::invalid(path.index(at), items[at].clone(), detail));
                return;
            }
            items.iter().map(|item| key(names, item)).collect()
        }
    };
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (at, key) in keys.into_iter().enumerate() {
        let seen = times.entry(key.to_string()).or_default();
        *seen += 1;
        if *seen == 2 {
            found.push(FieldError::duplicate(path.index(at), key));
        }
    }
}

/// The keys that an item has.
fn key(names: &[String], item: &Value) -> Value {
    let pairs = names.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone())));
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_there_twice_is_told_once() {
        let text = json!({"type": "string"});
        let set = json!({"type": "array", "items": text, "x-kubernetes-list-type": "set"});
        let map = |keys: Value| {
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
            "items": {"type": "object", "properties": {"a": text, "b": text, "s": set}}})
        };
        #[rustfmt::skip]
        let cases = [
            (set.clone(), json!(["a", "b", "a", "a"]), vec![r#"l[2]: Duplicate value: "a""#]),
            (map(json!(["a"])), json!([{"a": "1"}, {"a": "1", "b": "2"}]), vec![r#"l[1]: Duplicate value: {"a":"1"}"#]),
            (map(json!(["a"])), json!([{"b": "1"}, null]), vec!["l[1]: Duplicate value: {}"]),
            (map(json!(["a", "b"])), json!([{"a": "1"}, {"a": "1", "b": "2"}]), vec![]),
            (map(json!(["a"])), json!([{"a": "1", "s": ["x", "x"]}]), vec![r#"l[0].s[1]: Duplicate value: "x""#]),
            (map(json!(["a"])), json!([{"a": "1"}, 5]), vec!["l[1]: Invalid value: 5: must be an object for an array of list-type map"]),
        ];
        for (schema, value, expected) in cases {
            let found = check(&Structural::compile(&schema), &value, &FieldPath::new("l"));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{value}");
        }
    }
}
