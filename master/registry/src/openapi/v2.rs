//! OpenAPI v2 (Swagger): one document of everything, for clients from before v3.
//!
//! Made of the very types and paths of v3, in the older notation: references point to `definitions`, a body
//! is a parameter, and what may be a number or a text has a format that says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{components, custom, paths};
use crate::resource::Resource;

const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";

/// The document.
pub(super) fn document(
    builtin: &[Arc<Resource>],
    custom: &BTreeMap<String, Arc<custom::Lazy>>,
    version: &str,
) -> Value {
    let mut definitions = components::all(builtin);
    definitions.values_mut().for_each(older_schema);
    let custom: Vec<_> = custom::resources(custom.values()).collect();
    definitions.extend(custom.iter().flat_map(|resource| custom::older_types(resource)));
    let mut paths = Map::new();
    for resource in builtin.iter().chain(custom) {
        let base = super::path_of(&resource.group, &resource.version);
        paths::of(resource, &base, &mut paths);
    }
    paths.values_mut().for_each(older_path);
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": version },
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": { "BearerToken": {
            "type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer Token authentication",
        }},
        "security": [{ "BearerToken": [] }],
    })
}

/// A schema in the older notation.
fn older_schema(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(older_schema),
        Value::Object(fields) => {
            older_fields(fields);
            fields.values_mut().for_each(older_schema);
        }
        _ => {}
    }
}

fn older_fields(fields: &mut Map<String, Value>) {
    // `allOf` was only there for the description beside a reference.
    if let Some([only]) = fields.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let Some(reference) = only.get("$ref").cloned()
    {
        fields.remove("allOf");
        fields.insert("$ref".into(), reference);
    }
    if let Some(Value::String(reference)) = fields.get_mut("$ref")
        && let Some(name) = reference.strip_prefix(V3)
    {
        *reference = format!("{V2}{name}");
    }
    // A count or a percentage, a quantity: text, as far as this notation can say.
    if fields.get("oneOf").is_some_and(Value::is_array) {
        fields.remove("oneOf");
        fields.insert("type".into(), "string".into());
    }
    fields.remove("nullable");
}

/// The operations of a path in the older notation.
fn older_path(item: &mut Value) {
    let Some(fields) = item.as_object_mut() else { return };
    for (name, value) in fields.iter_mut() {
        if name == "parameters" {
            older_parameters(value);
        } else {
            older_operation(value);
        }
    }
}

fn older_parameters(parameters: &mut Value) {
    for parameter in parameters.as_array_mut().into_iter().flatten() {
        let Some(fields) = parameter.as_object_mut() else { continue };
        if let Some(Value::Object(mut schema)) = fields.remove("schema") {
            fields.append(&mut schema);
        }
    }
}

fn older_operation(operation: &mut Value) {
    let Some(fields) = operation.as_object_mut() else { return };
    let mut parameters = fields.remove("parameters").unwrap_or_else(|| json!([]));
    older_parameters(&mut parameters);
    let mut consumes = json!(["*/*"]);
    if let Some(body) = fields.remove("requestBody")
        && let Some(content) = body["content"].as_object()
        && let Some((_, media)) = content.iter().next()
    {
        if content.len() > 1 {
            consumes = content.keys().cloned().collect();
        }
        let mut schema = media["schema"].clone();
        older_schema(&mut schema);
        let parameter = json!({
            "name": "body", "in": "body", "required": body["required"], "schema": schema,
        });
        if let Some(list) = parameters.as_array_mut() {
            list.push(parameter);
        }
    }
    fields.insert("parameters".into(), parameters);
    fields.insert("consumes".into(), consumes);
    fields.insert("produces".into(), json!(["application/json", "application/yaml"]));
    fields.insert("schemes".into(), json!(["https"]));
    for response in fields.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let Some(fields) = response.1.as_object_mut() else { continue };
        let Some(content) = fields.remove("content") else { continue };
        let media = content.as_object().and_then(|content| content.values().next());
        if let Some(schema) = media.and_then(|media| media.get("schema")) {
            let mut schema = schema.clone();
            older_schema(&mut schema);
            fields.insert("schema".into(), schema);
        }
    }
}
