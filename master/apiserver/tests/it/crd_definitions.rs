//! Definitions of kinds: which are accepted, how their names are, and what a change of one comes to.

use serde_json::{Value, json};

use crate::crd::{CRDS, WIDGETS, get, merge, post, sized, version, widget, widgets, with_widgets};
use crate::world::{World, send};

#[tokio::test]
async fn wrong_definitions_are_refused_in_upstreams_words() {
    type Change = fn(&mut Value);
    let world = World::bootstrapped().await;
    let client = world.admin();
    #[rustfmt::skip]
    let cases: [(Change, &str); 14] = [
        (|d| d["metadata"]["name"] = json!("x.acme.io"), r#"metadata.name: Invalid value: "x.acme.io": must be spec.names.plural+"."+spec.group"#),
        (|d| d["spec"]["scope"] = json!("Everywhere"), r#"spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced""#),
        (|d| d["spec"]["preserveUnknownFields"] = json!(true), "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"),
        (|d| d["spec"]["versions"][0]["storage"] = json!(false), "must have exactly one version marked as storage version"),
        (|d| d["spec"]["versions"][0]["schema"] = json!({}), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (|d| schema(d)["type"] = json!("string"), r#"openAPIV3Schema.type: Invalid value: "string": must be object at the root"#),
        (|d| schema(d)["properties"]["spec"] = json!({"properties": {}}), "properties[spec].type: Required value: must not be empty for specified object fields"),
        (|d| schema(d)["properties"]["spec"] = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
         "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        (|d| schema(d)["properties"]["spec"] = json!({"$ref": "#/x", "type": "object"}), "properties[spec].$ref: Forbidden: $ref is not supported"),
        (|d| schema(d)["properties"]["spec"] = json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
        (|d| schema(d)["properties"]["metadata"] = json!({"type": "object", "properties": {"labels": {"type": "object"}}}),
         "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"),
        (|d| schema(d)["properties"]["spec"] = json!({"type": "integer", "default": "x"}), "properties[spec].default: Invalid value: \\\"string\\\""),
        (|d| d["spec"]["versions"][0]["additionalPrinterColumns"] = json!([{"name": "X", "type": "x", "jsonPath": "spec"}]),
         "additionalPrinterColumns[0].type: Invalid value: \\\"x\\\": must be one of boolean,date,integer,number,string"),
        (|d| d["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.none"}]), "selectableFields[0].jsonPath: Invalid value"),
    ];
    for (change, expected) in cases {
        let mut definition = widgets(json!([version("v1", true, sized())]));
        change(&mut definition);
        let refused = post(&client, CRDS, &definition).await;
        let plain = expected.replace('"', "\\\"").replace("\\\\\"", "\\\"");
        assert!(
            refused.code == 422 && refused.text.contains(&plain),
            "{expected}: {}",
            refused.text
        );
    }
    world.end().await;
}

fn schema(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[tokio::test]
async fn names_that_are_taken_are_not_accepted_until_they_are_free() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let mut rival = widgets(json!([version("v1", true, sized())]));
    rival["metadata"]["name"] = json!("gizmos.acme.io");
    rival["spec"]["names"] = json!({"plural": "gizmos", "kind": "Widget"});
    let made = post(&client, CRDS, &rival).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let condition = |object: &Value, kind: &str| {
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    };
    assert_eq!(condition(&made.json, "NamesAccepted"), "False SingularConflict");
    assert_eq!(condition(&made.json, "Established"), "False NotAccepted");
    assert_eq!(get(&client, "/apis/acme.io/v1/gizmos").await.code, 404);
    send(&client, &format!("DELETE {CRDS}/widgets.acme.io"), &[], "").await;
    let free = json!({"metadata": {"finalizers": null}});
    merge(&client, &format!("{CRDS}/widgets.acme.io"), &free).await;
    let touched = merge(&client, &format!("{CRDS}/gizmos.acme.io"), &json!({})).await.json;
    assert_eq!(condition(&touched, "NamesAccepted"), "True NoConflicts");
    assert_eq!(get(&client, "/apis/acme.io/v1/gizmos").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn objects_that_no_version_serves_do_not_come_back_with_another_definition() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    post(&client, WIDGETS, &widget("a", json!({}))).await;
    let path = format!("{CRDS}/widgets.acme.io");
    let mut hidden = version("v1", true, sized());
    hidden["served"] = json!(false);
    merge(&client, &path, &json!({"spec": {"versions": [hidden]}})).await;
    assert_eq!(get(&client, WIDGETS).await.code, 404);
    send(&client, &format!("DELETE {path}"), &[], "").await;
    merge(&client, &path, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(get(&client, &path).await.code, 404);
    let again = widgets(json!([version("v1", true, sized())]));
    assert_eq!(post(&client, CRDS, &again).await.code, 201);
    assert_eq!(get(&client, WIDGETS).await.json["items"], json!([]));
    world.end().await;
}

#[tokio::test]
async fn a_changed_schema_holds_for_the_next_write_and_for_reads() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    post(&client, WIDGETS, &widget("a", json!({"color": "red", "size": 9}))).await;
    let stricter = json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": 5},
        "shape": {"type": "string", "default": "round"}}});
    let versions = json!({"spec": {"versions": [version("v1", true, stricter)]}});
    let changed = merge(&client, &format!("{CRDS}/widgets.acme.io"), &versions).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    let refused = post(&client, WIDGETS, &widget("b", json!({"size": 6}))).await;
    assert_eq!(refused.code, 422);
    // What is stored is read under the new schema: known fields only, with its defaults.
    let seen = get(&client, &format!("{WIDGETS}/a")).await.json;
    assert_eq!(seen["spec"], json!({"shape": "round", "size": 9}));
    // A value that was let in before is no reason to refuse another change.
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(merge(&client, &format!("{WIDGETS}/a"), &labels).await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn the_published_schema_is_the_definitions() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let index = get(&client, "/openapi/v3").await.json;
    let url = index["paths"]["apis/acme.io/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = get(&client, &url).await.json;
    let kind = &document["components"]["schemas"]["io.acme.v1.Widget"];
    let gvk = json!([{"group": "acme.io", "version": "v1", "kind": "Widget"}]);
    assert_eq!(kind["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(kind["properties"]["spec"]["properties"]["size"]["maximum"], 10);
    let path =
        &document["paths"]["/apis/acme.io/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    let patches = path["requestBody"]["content"].as_object().unwrap();
    assert!(!patches.contains_key("application/strategic-merge-patch+json"));
    let older = get(&client, "/openapi/v2").await.json;
    let kind = &older["definitions"]["io.acme.v1.Widget"];
    assert_eq!(kind["x-kubernetes-group-version-kind"], gvk);
    let meta = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(kind["properties"]["metadata"]["$ref"], meta);
    let patch = &older["paths"]["/apis/acme.io/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    let body = patch["responses"]["200"]["schema"]["$ref"].clone();
    assert_eq!(body, "#/definitions/io.acme.v1.Widget");
    assert!(older["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    world.end().await;
}

/// What kube-apiserver 1.36.3 answered to the same requests.
#[tokio::test]
async fn an_object_says_of_which_kind_it_is_and_who_made_it_owns_its_parts() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let object = |kind: Option<&str>| {
        let mut object =
            json!({"apiVersion": "acme.io/v1", "metadata": {"name": "w"}, "spec": {"size": 1}});
        object["kind"] = kind.into();
        object
    };
    #[rustfmt::skip]
    let cases = [
        (None, 400, "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '"),
        (Some("Foo"), 422, "Foo.acme.io \"w\" is invalid: kind: Invalid value: \"Foo\": must be Widget"),
        (Some("Widget"), 201, ""),
    ];
    for (kind, code, text) in cases {
        let answer = post(&client, WIDGETS, &object(kind)).await;
        assert_eq!(answer.code, code, "{kind:?}: {}", answer.text);
        let said = answer.json["message"].as_str().unwrap_or_default();
        assert!(said.starts_with(text), "{kind:?}: {said}");
        if code == 201 {
            let owned = &answer.json["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
            assert_eq!(*owned, json!({".": {}, "f:size": {}}));
        }
    }
    let mut labelled = object(Some("Widget"));
    labelled["metadata"]["labels"] = json!({"a": 1});
    let said = post(&client, WIDGETS, &labelled).await.json["message"].clone();
    let text = "Widget in version \"v1\" cannot be handled as a Widget: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string";
    assert_eq!(said, text);
    world.end().await;
}
