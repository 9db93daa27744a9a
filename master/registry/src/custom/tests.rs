//! A definition's way to resources, and what its kind then takes.

use serde_json::json;

use super::*;
use crate::strategy::Strategy as _;

fn definition(versions: Value) -> Arc<Value> {
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    Arc::new(json!({"metadata": {"name": "widgets.acme.io", "uid": "u"},
        "spec": {"group": "acme.io", "scope": "Namespaced", "names": names, "versions": versions},
        "status": {"acceptedNames": names}}))
}

fn version(name: &str, is_storage: bool, spec: Value) -> Value {
    json!({"name": name, "served": true, "storage": is_storage, "schema": {"openAPIV3Schema":
        {"type": "object", "properties": {"spec": spec}}}})
}

fn text() -> Value {
    json!({"type": "string"})
}

#[test]
fn versions_come_in_the_order_of_discovery_and_share_a_storage() {
    let spec = || json!({"type": "object", "properties": {"a": text()}});
    let definition = definition(json!([
        version("v1beta1", true, json!({"type": "object", "properties": {"a": text(), "b": text()}})),
        version("v1", false, spec()),
        {"name": "v2", "served": false, "storage": false},
    ]));
    let kinds = compile(&definition, 7);
    let names: Vec<&str> = kinds.iter().map(|kind| kind.version.as_str()).collect();
    assert_eq!(names, ["v1", "v1beta1"]);
    assert!(!kinds[0].serves_as_stored(9) && kinds[1].serves_as_stored(9));
    assert!(!kinds[1].serves_as_stored(7));
    let mut object =
        json!({"apiVersion": "acme.io/v1beta1", "spec": {"a": "1", "b": "2", "c": "3"}});
    kinds[0].served_form(&mut object);
    assert_eq!(object, json!({"apiVersion": "acme.io/v1", "spec": {"a": "1"}}));
    kinds[0].storage_form(&mut object);
    assert_eq!(object, json!({"apiVersion": "acme.io/v1beta1", "spec": {"a": "1"}}));
}

#[test]
fn of_a_kind_with_a_conversion_webhook_only_the_stored_version_is_served() {
    let spec = || json!({"type": "object"});
    let versions = json!([version("v2", false, spec()), version("v1", true, spec())]);
    let mut converted = (*definition(versions)).clone();
    converted["spec"]["conversion"] = json!({"strategy": "Webhook"});
    let kinds = compile(&Arc::new(converted), 1);
    assert_eq!(kinds.iter().map(|kind| kind.version.as_str()).collect::<Vec<_>>(), ["v1"]);
}

/// What is wrong with `{"spec": spec}` under `schema`, one line each.
fn findings(schema: Value, spec: Value) -> Vec<String> {
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    let errors =
        validate::validate(&structural::Structural::compile(&schema), &json!({"spec": spec}), None);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn wrong_values_are_refused_in_upstreams_words() {
    #[rustfmt::skip]
    let cases = [
        (json!({"type": "integer"}), json!("3"), r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#),
        (json!({"type": "string"}), Value::Null, r#"spec: Invalid value: "null": spec in body must be of type string: "null""#),
        (json!({"type": "string", "enum": ["a", "b"]}), json!("c"), r#"spec: Unsupported value: "c": supported values: "a", "b""#),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "spec: Too long: may not be more than 2 bytes"),
        (json!({"type": "string", "minLength": 2}), json!("a"), r#"spec: Invalid value: "a": spec in body should be at least 2 chars long"#),
        (json!({"type": "string", "pattern": "^a+$"}), json!("b"), r#"spec: Invalid value: "b": spec in body should match '^a+$'"#),
        (json!({"type": "string", "format": "date-time"}), json!("b"), r#"spec: Invalid value: "b": spec in body must be of type date-time: "b""#),
        (json!({"type": "integer", "maximum": 3}), json!(4), "spec: Invalid value: 4: spec in body should be less than or equal to 3"),
        (json!({"type": "integer", "maximum": 3, "exclusiveMaximum": true}), json!(3), "spec: Invalid value: 3: spec in body should be less than 3"),
        (json!({"type": "integer", "minimum": 3}), json!(2), "spec: Invalid value: 2: spec in body should be greater than or equal to 3"),
        (json!({"type": "integer", "multipleOf": 3}), json!(4), "spec: Invalid value: 4: spec in body should be a multiple of 3"),
        (json!({"type": "array", "minItems": 1, "items": text()}), json!([]), "spec: Invalid value: 0: spec in body should have at least 1 items"),
        (json!({"type": "array", "maxItems": 1, "items": text()}), json!(["a", "b"]), "spec: Too many: 2: must have at most 1 item"),
        (json!({"type": "array", "items": text()}), json!([1]), r#"spec[0]: Invalid value: "integer": spec[0] in body must be of type string: "integer""#),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
        (json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"k": "v"}),
         r#"spec.k: Invalid value: "string": spec.k in body must be of type integer: "string""#),
        (json!({"type": "object", "properties": {"a": text()}, "not": {"required": ["a"]}}), json!({"a": "1"}),
         r#"<nil>: Invalid value: "": "spec" must not validate the schema (not)"#),
        (json!({"x-kubernetes-int-or-string": true}), json!(true), r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#),
    ];
    for (schema, spec, expected) in cases {
        assert_eq!(findings(schema, spec), [expected]);
    }
    let one_of = json!({"type": "object", "properties": {"a": text(), "b": text()},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(findings(one_of.clone(), json!({"a": "1"})), [""; 0]);
    assert_eq!(
        findings(one_of.clone(), json!({"a": "1", "b": "1"})),
        [
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]
    );
    let none = r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#;
    assert_eq!(findings(one_of, json!({})), [none, "spec.a: Required value"]);
}

#[test]
fn right_values_pass() {
    #[rustfmt::skip]
    let cases = [
        (json!({"type": "integer"}), json!(3.0)),
        (json!({"type": "number"}), json!(3)),
        (json!({"type": "string", "nullable": true}), Value::Null),
        (json!({"type": "string", "x-kubernetes-int-or-string": true}), json!(5)),
        (json!({"x-kubernetes-int-or-string": true}), json!("50%")),
        (json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), json!({"a": [1, {"b": null}]})),
        (json!({"type": "array", "items": text()}), json!(["a", "a"])),
    ];
    for (schema, spec) in cases {
        assert_eq!(findings(schema, spec), [""; 0]);
    }
}

#[test]
fn what_an_update_leaves_alone_is_not_held_against_it() {
    let schema = structural::Structural::compile(
        &json!({"type": "object", "properties": {"spec": {
        "type": "object", "required": ["z"], "properties": {"a": {"type": "string", "maxLength": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": text(), "v": {"type": "integer", "maximum": 1}}}}}}}}),
    );
    let old = json!({"spec": {"a": "long", "list": [{"k": "x", "v": 5}], "z": 1}});
    let fields = |new: Value| -> Vec<String> {
        validate::validate(&schema, &new, Some(&old)).into_iter().map(|error| error.field).collect()
    };
    assert_eq!(fields(old.clone()), [""; 0]);
    let list = json!([{"k": "y", "v": 0}, {"k": "x", "v": 5}]);
    assert_eq!(fields(json!({"spec": {"a": "long", "list": list, "z": 2}})), [""; 0]);
    assert_eq!(fields(json!({"spec": {"a": "longer", "z": 1}})), ["spec.a"]);
    assert_eq!(
        fields(json!({"spec": {"a": "long", "list": [{"k": "x", "v": 6}], "z": 1}})),
        ["spec.list[0].v"]
    );
}

/// A kind of one version, with a schema for its spec and its status.
fn kind(spec: Value, status: Value) -> Arc<Kind> {
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let versions = json!([{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema}}]);
    compile(&definition(versions), 1).remove(0)
}

fn told(errors: &[master_api::status::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn where_something_was_twice_nothing_of_the_kind_is_held_against_an_update() {
    let set = json!({"type": "array", "items": text(), "x-kubernetes-list-type": "set"});
    let kind = kind(
        json!({"type": "object", "properties": {"a": set, "b": set}}),
        json!({"type": "object"}),
    );
    let once = json!({"spec": {"a": ["x"], "b": ["y"]}});
    let twice = json!({"spec": {"a": ["x"], "b": ["y", "y"]}});
    let more = json!({"spec": {"a": ["x", "x"], "b": ["y"]}});
    assert_eq!(told(&kind.validate(&twice, Some(&once))), [r#"spec.b[1]: Duplicate value: "y""#]);
    assert_eq!(told(&kind.validate(&more, Some(&twice))), [""; 0]);
}

#[test]
fn a_status_is_held_against_its_own_schema_only() {
    let count = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 1}}, "required": ["m"]});
    let kind = kind(count.clone(), count);
    let old = json!({"spec": {"n": 5}, "status": {"n": 7, "m": 0}});
    let new = json!({"spec": {"n": 5}, "status": {"n": 6, "m": 0}});
    assert_eq!(
        told(&kind.validate_status(&new, &old)),
        ["status.n: Invalid value: 6: n in body should be less than or equal to 1"]
    );
    let other = json!({"spec": {"n": 5}, "status": {"n": 7, "m": 1}});
    assert_eq!(told(&kind.validate_status(&other, &old)), [""; 0]);
    let wrong = json!({"status": "x"});
    assert_eq!(
        told(&kind.validate_status(&wrong, &old)),
        [r#"status: Invalid value: "string":  in body must be of type object: "string""#]
    );
}

#[test]
fn combinations_are_judged_again_with_all_that_is_beside_them() {
    let spec = json!({"type": "object", "properties": {"a": text(), "b": text()},
        "allOf": [{"properties": {"a": {"maxLength": 3}}}]});
    let schema =
        structural::Structural::compile(&json!({"type": "object", "properties": {"spec": spec}}));
    let (old, new) =
        (json!({"spec": {"a": "long", "b": "x"}}), json!({"spec": {"a": "long", "b": "y"}}));
    let found = [
        "spec.a: Too long: may not be more than 3 bytes",
        r#"<nil>: Invalid value: "": "spec" must validate all the schemas (allOf). None validated"#,
    ];
    assert_eq!(told(&validate::validate(&schema, &new, Some(&old))), found);
    assert_eq!(told(&validate::validate(&schema, &old, Some(&old))), [""; 0]);
}

#[test]
fn finalizers_that_others_may_have_too_are_warned_of() {
    let kind = kind(json!({"type": "object"}), json!({"type": "object"}));
    let with = |names: Value| json!({"metadata": {"finalizers": names}});
    let advice = "to avoid accidental conflicts with other finalizer writers";
    assert_eq!(
        kind.warnings(&with(json!(["b", "a.io", "x.io/y", "orphan"])), None),
        [
            format!(
                "metadata.finalizers: \"a.io\": prefer a domain-qualified finalizer name including a path (/) {advice}"
            ),
            format!(
                "metadata.finalizers: \"b\": prefer a domain-qualified finalizer name {advice}"
            ),
        ]
    );
    assert!(kind.warnings(&with(json!(["b"])), Some(&with(json!(["b"])))).is_empty());
}
