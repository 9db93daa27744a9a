//! Any other kind: its fields, in words.

use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, head, labels};

pub(super) fn describe(page: &mut Page, object: &Value) {
    head(page, object);
    labels(page, object);
    for field in ["apiVersion", "kind"] {
        page.line(0, &words(field), shown(&object[field]));
    }
    page.raw(0, "Metadata:");
    let Some(metadata) = object["metadata"].as_object() else { return };
    let said_above = ["name", "namespace", "labels", "annotations", "managedFields"];
    for (key, value) in metadata.iter().filter(|(key, _)| !said_above.contains(&key.as_str())) {
        field(page, 1, key, value);
    }
    let said_above = ["apiVersion", "kind", "metadata"];
    let Some(fields) = object.as_object() else { return };
    for (key, value) in fields.iter().filter(|(key, _)| !said_above.contains(&key.as_str())) {
        field(page, 0, key, value);
    }
}

fn field(page: &mut Page, level: usize, key: &str, value: &Value) {
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Object(map) => {
            page.raw(level, format!("{}:", words(key)));
            map.iter().for_each(|(key, value)| field(page, level + 1, key, value));
        }
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            page.raw(level, format!("{}:", words(key)));
            for item in list {
                match item {
                    Value::Object(map) => {
                        map.iter().for_each(|(key, value)| field(page, level + 1, key, value))
                    }
                    scalar => page.raw(level + 1, shown(scalar)),
                }
            }
        }
        scalar => page.line(level, &words(key), shown(scalar)),
    }
}

/// `lastTransitionTime` as `Last Transition Time`.
fn words(key: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in key.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            out.push(' ');
        }
        if out.is_empty() {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_words() {
        #[rustfmt::skip]
        let cases = [("apiVersion", "Api Version"), ("kind", "Kind"), ("clusterIPs", "Cluster IPs"), ("a-b", "A-b")];
        for (key, wanted) in cases {
            assert_eq!(words(key), wanted);
        }
    }
}
