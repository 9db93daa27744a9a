//! JSON as kubectl prints it: keys sorted, four spaces deep.

use serde::Serialize;
use serde_json::Value;

/// The text, with a newline at its end.
pub fn to_string(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    if sorted(value).serialize(&mut serializer).is_err() {
        return format!("{value}\n");
    }
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

/// The same value, maps in the order of their keys (whatever order `serde_json` was built to keep).
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}
