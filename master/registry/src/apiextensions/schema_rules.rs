//! What a schema must be like to be structural (KEP "structural schemas"), in upstream's words.
//!
//! A structural schema says of every field which type it has, outside of `allOf`, `anyOf`, `oneOf` and
//! `not`, which only narrow values down.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use super::rule_costs;
use crate::check::Findings;
use crate::custom::structural::{Additional, Structural, Type};
use crate::custom::{default, embedded, pattern, prune, rules as cel_rules, validate};

/// How deep a schema may be nested: deeper ones are nobody's intent.
const DEPTH_MAX: usize = 64;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where a schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Checks the schema of a version.
pub(super) fn check(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    let before = errors.len();
    walk(schema, path, Level::Root, 0, errors);
    if errors.len() == before {
        let compiled = Structural::compile_root(schema);
        defaults(&compiled, path, true, errors);
        rule_costs::rules(&compiled, path, errors);
    }
}

fn walk(schema: &Value, path: &FieldPath, level: Level, depth: usize, errors: &mut Findings) {
    if depth > DEPTH_MAX {
        errors.push(FieldError::forbidden(path.clone(), "the schema is nested too deeply"));
        return;
    }
    unsupported(schema, path, errors);
    kind(schema, path, level, errors);
    extensions(schema, path, errors);
    if level == Level::Root {
        root(schema, path, errors);
    }
    for (name, property) in fields(schema, "properties") {
        let place = path.child("properties").key(name);
        walk(property, &place, Level::Field, depth + 1, errors);
    }
    if schema["additionalProperties"].is_object() {
        let place = path.child("additionalProperties");
        walk(&schema["additionalProperties"], &place, Level::Field, depth + 1, errors);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &path.child("items"), Level::Item, depth + 1, errors);
    }
    for (place, nested) in nested(schema, path) {
        value_validation(nested, (schema, path, level == Level::Root), &place, depth + 1, errors);
    }
    patterns(schema, path, errors);
}

fn fields<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[name].as_object().into_iter().flatten()
}

/// Fields of JSON schema that upstream does not take.
fn unsupported(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    for name in
        ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"]
    {
        if !schema[name].is_null() && schema[name] != "" {
            let detail = format!("{name} is not supported");
            errors.push(FieldError::forbidden(path.child(name), detail));
        }
    }
    if schema["uniqueItems"] == true {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(path.child("uniqueItems"), detail));
    }
    if schema["additionalProperties"] == false {
        let detail = "additionalProperties cannot be set to false";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    let has_properties = schema["properties"].as_object().is_some_and(|it| !it.is_empty());
    // `true` only keeps what no property names.
    let has_values = !matches!(schema["additionalProperties"], Value::Null | Value::Bool(true));
    if has_properties && has_values {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(path.child("items"), detail));
    }
}

fn kind(schema: &Value, path: &FieldPath, level: Level, errors: &mut Findings) {
    let place = path.child("type");
    let text = schema["type"].as_str().unwrap_or_default();
    // Of embedded objects it is told elsewhere.
    let may_be_open = schema["x-kubernetes-int-or-string"] == true
        || schema["x-kubernetes-preserve-unknown-fields"] == true
        || schema["x-kubernetes-embedded-resource"] == true;
    if text.is_empty() {
        match level {
            Level::Root => {
                errors.push(FieldError::required(place, "must not be empty at the root"))
            }
            Level::Field if !may_be_open => {
                let detail = "must not be empty for specified object fields";
                errors.push(FieldError::required(place, detail));
            }
            Level::Item if !may_be_open => {
                let detail = "must not be empty for specified array items";
                errors.push(FieldError::required(place, detail));
            }
            Level::Field | Level::Item => {}
        }
        return;
    }
    if !TYPES.contains(&text) {
        errors.push(FieldError::not_supported(place, text, &TYPES));
    } else if level == Level::Root && text != "object" {
        errors.push(FieldError::invalid(place, text, "must be object at the root"));
    } else if text == "array" && !schema["items"].is_object() && !schema["items"].is_array() {
        errors.push(FieldError::required(path.child("items"), "must be specified"));
    }
}

fn extensions(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    let preserves = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let place = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(place, false, "must be true or undefined"));
    }
    for (name, is_set) in [
        ("x-kubernetes-preserve-unknown-fields", preserves),
        ("x-kubernetes-embedded-resource", schema["x-kubernetes-embedded-resource"] == true),
    ] {
        if is_set && schema["x-kubernetes-int-or-string"] == true {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(path.child(name), true, detail));
        }
    }
    if schema["x-kubernetes-embedded-resource"] == true {
        embedded_resource(schema, preserves, path, errors);
    }
    list_type(schema, path, errors);
    let map_type = &schema["x-kubernetes-map-type"];
    if let Some(text) = map_type.as_str() {
        if schema["type"] != "object" {
            let detail = "must be object if x-kubernetes-map-type is specified";
            errors.push(given(schema, "type", path, detail));
        }
        if !["granular", "atomic"].contains(&text) {
            let place = path.child("x-kubernetes-map-type");
            errors.push(FieldError::not_supported(place, text, &["atomic", "granular"]));
        }
    }
}

/// What a schema of objects within objects may say: of their kind and metadata no more than everybody knows.
fn embedded_resource(schema: &Value, preserves: bool, path: &FieldPath, errors: &mut Findings) {
    if schema["type"] != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(given(schema, "type", path, detail));
    }
    if !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    if !preserves && schema["properties"].as_object().is_none_or(Map::is_empty) {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(path.child("properties"), detail));
    }
    implicit_types(schema, path, errors);
}

/// The types of what every object has, where a schema mentions it.
fn implicit_types(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    for (name, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        let found = &schema["properties"][name];
        if !found.is_null() && found["type"] != kind {
            let place = path.child("properties").key(name).child("type");
            let text = found["type"].as_str().unwrap_or_default();
            errors.push(FieldError::invalid(place, text, format!("must be {kind}")));
        }
    }
}

fn list_type(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().map_or(&[][..], Vec::as_slice);
    let place = path.child("x-kubernetes-list-type");
    let only_map = "must be map if x-kubernetes-list-map-keys is non-empty";
    let Some(kind) = schema["x-kubernetes-list-type"].as_str() else {
        if !keys.is_empty() {
            errors.push(FieldError::required(place, only_map));
        }
        return;
    };
    if schema["type"] != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        errors.push(given(schema, "type", path, detail));
        return;
    }
    let known = ["atomic", "set", "map"];
    if !known.contains(&kind) {
        errors.push(FieldError::not_supported(place.clone(), kind, &known));
    }
    if ["set", "map"].contains(&kind) && schema["items"]["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(path.child("items").child("nullable"), detail));
    }
    if kind == "set" {
        whole_items(&schema["items"], &path.child("items"), errors);
    }
    if kind != "map" {
        if !keys.is_empty() {
            errors.push(FieldError::invalid(place, kind, only_map));
        }
        return;
    }
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(path.child("x-kubernetes-list-map-keys"), detail));
    }
    map_keys(schema, keys, path, errors);
}

/// Items of a set are compared as a whole, and so change as a whole.
fn whole_items(items: &Value, path: &FieldPath, errors: &mut Findings) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items["x-kubernetes-list-type"].clone();
    let field = match items["type"].as_str() {
        Some("array") if !list_type.is_null() && list_type != "atomic" => "x-kubernetes-list-type",
        Some("object") if items["x-kubernetes-map-type"] != "atomic" => "x-kubernetes-map-type",
        _ => return,
    };
    // As upstream: the list type is shown, whichever is wrong.
    errors.push(FieldError::invalid(path.child(field), list_type, detail));
}

/// What is said of a type that is another one, or none.
fn given(schema: &Value, field: &str, path: &FieldPath, detail: &str) -> FieldError {
    match schema[field].as_str() {
        None | Some("") => FieldError::required(path.child(field), detail),
        Some(found) => FieldError::invalid(path.child(field), found, detail),
    }
}

fn map_keys(schema: &Value, keys: &[Value], path: &FieldPath, errors: &mut Findings) {
    let items = &schema["items"];
    if !items.is_object() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(path.child("items"), detail));
        return;
    }
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        let place = path.child("items").child("type");
        let found = items["type"].as_str().unwrap_or_default();
        errors.push(FieldError::invalid(place, found, detail));
        return;
    }
    let place = path.child("x-kubernetes-list-map-keys");
    let is_property =
        |key: &&Value| key.as_str().is_some_and(|key| items["properties"].get(key).is_some());
    if !keys.iter().all(|key| is_property(&key)) {
        let detail = "entries must all be names of item properties";
        errors.push(FieldError::invalid(place.clone(), keys.to_vec(), detail));
    }
    if keys.iter().map(Value::as_str).collect::<BTreeSet<_>>().len() < keys.len() {
        let detail = "must not contain duplicate entries";
        errors.push(FieldError::invalid(place, keys.to_vec(), detail));
    }
    let required = items["required"].as_array().map_or(&[][..], Vec::as_slice);
    for key in keys.iter().filter(is_property) {
        let name = key.as_str().unwrap_or_default();
        let property = &items["properties"][name];
        let field = path.child("items").child("properties").key(name);
        if matches!(property["type"].as_str(), Some("object" | "array")) {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(field.child("type"), property["type"].clone(), detail));
        }
        if property["default"].is_null() && !required.contains(key) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(field.child("default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(field.child("nullable"), detail));
        }
    }
}

fn root(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    if !schema["additionalProperties"].is_null() {
        let detail = "must not be used at the root";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    if schema["nullable"] == true {
        let detail = "nullable cannot be true at the root";
        errors.push(FieldError::forbidden(path.child("nullable"), detail));
    }
    implicit_types(schema, path, errors);
    let metadata = &schema["properties"]["metadata"];
    let Some(fields) = metadata.as_object() else { return };
    let place = path.child("properties").key("metadata");
    let is_plain =
        fields.keys().all(|key| matches!(key.as_str(), "type" | "properties" | "description"))
            && self::fields(metadata, "properties")
                .all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    if !is_plain {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(place, detail));
    }
}

fn patterns(schema: &Value, path: &FieldPath, errors: &mut Findings) {
    if let Some(text) = schema["pattern"].as_str()
        && let Err(error) = pattern::compile(text)
    {
        let cause = error.to_string().lines().last().unwrap_or_default().to_owned();
        let detail = format!("must be a valid regular expression, but isn't: {cause}");
        errors.push(FieldError::invalid(path.child("pattern"), text, detail));
    }
}

/// The schemas in `allOf`, `anyOf`, `oneOf` and `not`, with their places.
fn nested<'a>(schema: &'a Value, path: &FieldPath) -> Vec<(FieldPath, &'a Value)> {
    let mut found = Vec::new();
    for name in ["allOf", "anyOf", "oneOf"] {
        for (at, nested) in schema[name].as_array().into_iter().flatten().enumerate() {
            found.push((path.child(name).index(at), nested));
        }
    }
    if schema["not"].is_object() {
        found.push((path.child("not"), &schema["not"]));
    }
    found
}

/// A schema that only narrows values down says nothing of types; at the root it names no field of its own
/// (upstream looks no deeper).
fn value_validation(
    narrow: &Value,
    (outer, outer_path, is_complete): (&Value, &FieldPath, bool),
    path: &FieldPath,
    depth: usize,
    errors: &mut Findings,
) {
    if depth > DEPTH_MAX {
        errors.push(FieldError::forbidden(path.clone(), "the schema is nested too deeply"));
        return;
    }
    // The one idiom with types: `anyOf: [{type: integer}, {type: string}]` beside int-or-string.
    let is_idiom = outer["x-kubernetes-int-or-string"] == true;
    if !narrow["type"].is_null() && !is_idiom {
        let detail = "must be empty to be structural";
        errors.push(FieldError::forbidden(path.child("type"), detail));
    }
    for (name, state) in [
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        let found = &narrow[name];
        let is_empty = state == "empty" && found.as_array().is_some_and(Vec::is_empty);
        if !found.is_null() && *found != false && *found != "" && !is_empty {
            let detail = format!("must be {state} to be structural");
            errors.push(FieldError::forbidden(path.child(name), detail));
        }
    }
    if !narrow["x-kubernetes-validations"].is_null() {
        let place = path.child("x-kubernetes-validations");
        errors.extend(Structural::compile(narrow).rules.texts(&place));
    }
    patterns(narrow, path, errors);
    if !narrow["properties"]["metadata"].is_null() {
        let detail = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(path.child("properties").key("metadata"), detail));
    }
    for (name, property) in fields(narrow, "properties") {
        let place = path.child("properties").key(name);
        let full = &outer["properties"][name];
        let full_path = outer_path.child("properties").key(name);
        let additional = &outer["additionalProperties"];
        let full = if full.is_null() && additional.is_object() { additional } else { full };
        if full.is_null() && is_complete {
            let detail = format!("because it is defined in {place}");
            errors.push(FieldError::required(full_path, detail));
        } else {
            let outer = (full, &full_path, is_complete);
            value_validation(property, outer, &place, depth + 1, errors);
        }
    }
    if narrow["items"].is_object() {
        let (place, full_path) = (path.child("items"), outer_path.child("items"));
        if outer["items"].is_object() || !is_complete {
            let outer = (&outer["items"], &full_path, is_complete);
            value_validation(&narrow["items"], outer, &place, depth + 1, errors);
        } else {
            let detail = format!("because it is defined in {place}");
            errors.push(FieldError::required(full_path, detail));
        }
    }
    for (place, inner) in nested(narrow, path) {
        value_validation(inner, (outer, outer_path, is_complete), &place, depth + 1, errors);
    }
}

/// Defaults have to be values that would be accepted.
fn defaults(compiled: &Structural, path: &FieldPath, is_root: bool, errors: &mut Findings) {
    if let Some(value) = &compiled.default {
        let place = path.child("default");
        if is_root && compiled.kind == Some(Type::Object) {
            errors.push(FieldError::forbidden(place.clone(), "must not be set at the root"));
        }
        let mut full = value.clone();
        let unknown = prune::prune_value(&mut full, compiled);
        if !unknown.is_empty() {
            let detail = "must not have unknown fields";
            errors.push(FieldError::invalid(place.clone(), value.clone(), detail));
        }
        let before = errors.len();
        errors.extend(embedded::validate_value(compiled, value, &place));
        default::fill(&mut full, compiled);
        if errors.len() == before {
            for error in validate::validate_value(compiled, &full) {
                let place = match error.field.as_str() {
                    "<nil>" => place.clone(),
                    below => place.child(below),
                };
                errors.push(FieldError { field: place.into(), ..error });
            }
        }
        if errors.len() == before && compiled.has_rules {
            errors.extend(cel_rules::check_default(compiled, value, &place));
        }
    }
    for (name, property) in &compiled.properties {
        let place = path.child("properties").key(name);
        defaults(property, &place, false, errors);
    }
    if let Some(items) = &compiled.items {
        defaults(items, &path.child("items"), false, errors);
    }
    if let Additional::Of(values) = &compiled.additional {
        defaults(values, &path.child("additionalProperties"), false, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let mut errors = Vec::new();
        let schema = json!({"type": "object", "properties": {"s": spec}});
        check(&schema, &FieldPath::new("schema"), &mut errors);
        let place = "schema.properties[s]";
        errors.iter().map(|error| error.to_string().replace(place, "s")).collect()
    }

    #[test]
    fn what_is_not_structural_is_told_in_upstreams_words() {
        let text = || json!({"type": "string"});
        let rule = json!([{"rule": "true"}]);
        #[rustfmt::skip]
        let cases = [
            (json!({"type": "object", "allOf": [{"x-kubernetes-validations": rule}], "x-kubernetes-preserve-unknown-fields": true}),
             "s.allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural"),
            (json!({"type": "object", "not": {"x-kubernetes-validations": rule}, "x-kubernetes-preserve-unknown-fields": true}),
             "s.not.x-kubernetes-validations: Forbidden: must be empty to be structural"),
            (json!({"type": "object", "properties": {"metadata": {"type": "object"}}, "anyOf": [{"properties": {"metadata": {}}}]}),
             "s.anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context"),
            (json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
             "s.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"),
            (json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
             "s.type: Required value: must be object if x-kubernetes-embedded-resource is true"),
            (json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true, "additionalProperties": text()}),
             "s.additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set"),
            (json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"kind": {"type": "integer"}}}),
             "s.properties[kind].type: Invalid value: \"integer\": must be string"),
            (json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"metadata": text()}}),
             "s.properties[metadata].type: Invalid value: \"string\": must be object"),
            (json!({"type": "string", "x-kubernetes-map-type": "atomic"}),
             "s.type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified"),
            (json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}),
             "s.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"),
            (json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "array", "x-kubernetes-list-type": "set", "items": text()}}),
             "s.items.x-kubernetes-list-type: Invalid value: \"set\": must be atomic as item of a list with x-kubernetes-list-type=set"),
            (json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "nullable": true}}),
             "s.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"),
            (json!({"type": "integer", "default": 5, "x-kubernetes-validations": [{"rule": "self < 5", "message": "few"}]}),
             "s.default: Invalid value: 5: few"),
            (json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true, "default": {"kind": "K"}}),
             "s.default.apiVersion: Required value"),
        ];
        for (schema, expected) in cases {
            assert_eq!(told(schema.clone()), [expected], "{schema}");
        }
        let textless = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "allOf": [{"x-kubernetes-validations": [{"rule": ""}]}]});
        assert_eq!(
            told(textless),
            [
                "s.allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
                "s.allOf[0].x-kubernetes-validations[0].rule: Required value: rule is not specified",
            ]
        );
        assert_eq!(
            told(
                json!({"type": "integer", "default": 4, "x-kubernetes-validations": [{"rule": "self < 5"}]})
            ),
            [""; 0]
        );
    }

    #[test]
    fn what_says_nothing_is_taken() {
        let anything = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true});
        let nothing = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "allOf": [{"x-kubernetes-validations": [], "x-kubernetes-list-map-keys": []}]});
        for schema in [anything, nothing] {
            assert_eq!(told(schema.clone()), [""; 0], "{schema}");
        }
        let of_texts = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}});
        let refused = "s.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive";
        assert_eq!(told(of_texts), [refused]);
    }

    #[test]
    fn a_type_beside_int_or_string_is_taken_as_upstream_does() {
        let size =
            json!({"type": "string", "x-kubernetes-int-or-string": true, "pattern": "^[0-9]+$"});
        let schema = json!({"type": "object", "properties": {"size": size}});
        let mut errors = Vec::new();
        check(&schema, &FieldPath::new("schema"), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
    }
}
