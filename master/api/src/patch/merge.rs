//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

/// Lays `patch` over `target`: objects merge, null removes, everything else replaces.
pub fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = match target {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (key, change) in changes {
        let old = fields.remove(key);
        if !change.is_null() {
            fields.insert(key.clone(), merge_patch(old.unwrap_or_default(), change));
        }
    }
    Value::Object(fields)
}
