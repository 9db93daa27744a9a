//! OpenAPI v2 in protobuf (gnostic's `openapi.v2.Document`), as kubectl before v1.27 asks for it.
//!
//! Carries what kubectl reads: types with their extensions for `explain`, validation and merging, and
//! operations with their query parameters, from which it learns what dry-run is served for.

use serde_json::{Map, Value};

/// A message under construction: fields in the order in which they are added.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text field; an empty one is not sent.
    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, value: &Value) {
        for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn flag(&mut self, field: u64, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// A name and what it stands for.
    fn named(&mut self, field: u64, name: &str, value: &Self) {
        let mut pair = Self::default();
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
        self.message(field, &pair);
    }

    /// The fields that begin with `x-`, each as YAML (of which JSON is a part).
    fn extensions(&mut self, field: u64, fields: &Map<String, Value>) {
        for (name, value) in fields.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, &any(value));
        }
    }
}

fn any(value: &Value) -> Message {
    let mut any = Message::default();
    any.bytes(2, value.to_string().as_bytes());
    any
}

/// The document of [`super::v2`] in protobuf.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    message.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        paths.named(2, path, &path_item(item));
    }
    message.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in document["definitions"].as_object().into_iter().flatten() {
        definitions.named(1, name, &schema(definition));
    }
    message.message(9, &definitions);
    message.0
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(operation) = item.get(method) {
            message.message(field, &operation_of(operation));
        }
    }
    for parameter in item["parameters"].as_array().into_iter().flatten() {
        message.message(9, &parameter_of(parameter));
    }
    message
}

fn operation_of(operation: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, &operation["tags"]);
    message.text(5, &operation["operationId"]);
    message.texts(6, &operation["produces"]);
    message.texts(7, &operation["consumes"]);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        message.message(8, &parameter_of(parameter));
    }
    if let Some(fields) = operation.as_object() {
        message.extensions(13, fields);
    }
    message
}

/// `ParametersItem` around `Parameter` around the parameter itself.
fn parameter_of(parameter: &Value) -> Message {
    let mut own = Message::default();
    let mut kind = Message::default();
    if parameter["in"] == "body" {
        own.text(2, &parameter["name"]);
        own.text(3, &parameter["in"]);
        own.flag(4, &parameter["required"]);
        own.message(5, &schema(&parameter["schema"]));
        kind.message(1, &own);
    } else {
        let is_path = parameter["in"] == "path";
        own.flag(1, &parameter["required"]);
        own.text(2, &parameter["in"]);
        own.text(3, &parameter["description"]);
        own.text(4, &parameter["name"]);
        own.text(if is_path { 5 } else { 6 }, &parameter["type"]);
        let mut place = Message::default();
        place.message(if is_path { 4 } else { 3 }, &own);
        kind.message(2, &place);
    }
    let mut item = Message::default();
    item.message(1, &kind);
    item
}

fn schema(schema_value: &Value) -> Message {
    let mut message = Message::default();
    let Some(fields) = schema_value.as_object() else { return message };
    message.text(1, &schema_value["$ref"]);
    message.text(2, &schema_value["format"]);
    message.text(4, &schema_value["description"]);
    message.texts(19, &schema_value["required"]);
    match &schema_value["additionalProperties"] {
        Value::Null | Value::Bool(false) => {}
        values => {
            let mut item = Message::default();
            match values {
                Value::Bool(_) => item.flag(2, values),
                _ => item.message(1, &schema(values)),
            }
            message.message(21, &item);
        }
    }
    if schema_value["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &schema_value["type"]);
        message.message(22, &kind);
    }
    if let Some(items) = fields.get("items") {
        let mut item = Message::default();
        item.message(1, &schema(items));
        message.message(23, &item);
    }
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        let mut all = Message::default();
        for (name, property) in properties {
            all.named(1, name, &schema(property));
        }
        message.message(25, &all);
    }
    message.extensions(31, fields);
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_gnostics_numbers() {
        let mut expected = Message::default();
        // `type: string` is a message in field 22, a text in its field 1.
        expected.0.extend([0xb2, 0x01, 0x08, 0x0a, 0x06]);
        expected.0.extend(b"string");
        assert_eq!(schema(&json!({"type": "string"})).0, expected.0);
        // A long text has its length in two bytes.
        let long = "x".repeat(300);
        assert_eq!(schema(&json!({"description": long})).0[..3], [0x22, 0xac, 0x02]);
    }
}
