//! Formats of text and numbers in schemas that nobody checks: their author is told.

use std::collections::BTreeSet;

use master_api::meta;
use serde_json::Value;

const OF_TEXT: [&str; 27] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// What there is to say of a definition's formats, or of those that an update brings.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map(unknown).unwrap_or_default();
    let found = unknown(new);
    found.difference(&before).map(|format| format!("unrecognized format {format:?}")).collect()
}

fn unknown(definition: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for version in meta::items(definition, &["spec", "versions"]) {
        look(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn look<'a>(schema: &'a Value, found: &mut BTreeSet<&'a str>) {
    let format = meta::text(schema, &["format"]);
    let is_known = match meta::text(schema, &["type"]) {
        _ if format.is_empty() => true,
        "string" => OF_TEXT.contains(&format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    if !is_known {
        found.insert(format);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.for_each(|(_, inner)| look(inner, found));
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            look(&schema[inner], found);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_that_nobody_checks_are_told_once() {
        let definition = |formats: &[(&str, &str)]| {
            let fields: serde_json::Map<String, Value> = formats
                .iter()
                .map(|(kind, format)| {
                    (format!("{kind}-{format}"), json!({"type": kind, "format": format}))
                })
                .collect();
            let schema = json!({"type": "object", "properties": fields});
            json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}})
        };
        let new = definition(&[
            ("string", "uuid"),
            ("integer", "int32"),
            ("string", "int32"),
            ("number", "other"),
        ]);
        let told = ["unrecognized format \"int32\"", "unrecognized format \"other\""];
        assert_eq!(warnings(&new, None), told);
        assert_eq!(warnings(&new, Some(&definition(&[("string", "other")]))), told[..1]);
    }
}
