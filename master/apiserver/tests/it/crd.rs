//! Kinds that users define, from their definition to their end, as a stock client meets them.

use std::time::Duration;

use futures::StreamExt;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use crate::world::{Answer, World, send};

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const WIDGETS: &str = "/apis/acme.io/v1/namespaces/default/widgets";
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// A version whose `spec` has a schema.
pub(crate) fn version(name: &str, is_storage: bool, spec: Value) -> Value {
    json!({"name": name, "served": true, "storage": is_storage, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": spec, "status": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
}

/// The definition of widgets.
pub(crate) fn widgets(versions: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.acme.io"}, "spec": {"group": "acme.io", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        "versions": versions}})
}

/// A size with bounds and a default, and a color.
pub(crate) fn sized() -> Value {
    json!({"type": "object", "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "color": {"type": "string", "enum": ["red", "green"]}}})
}

pub(crate) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(crate) async fn post(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, &format!("POST {path}"), &[JSON], body.to_string()).await
}

pub(crate) async fn get(client: &kube::Client, path: &str) -> Answer {
    send(client, &format!("GET {path}"), &[], "").await
}

pub(crate) async fn put(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, &format!("PUT {path}"), &[JSON], body.to_string()).await
}

pub(crate) async fn merge(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, &format!("PATCH {path}"), &[MERGE], body.to_string()).await
}

/// A world in which widgets are defined.
pub(crate) async fn with_widgets(versions: Value) -> (World, kube::Client) {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let made = post(&client, CRDS, &widgets(versions)).await;
    assert_eq!(made.code, 201, "{}", made.text);
    (world, client)
}

#[tokio::test]
async fn a_defined_kind_is_served_at_once_and_like_any_other() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let definition = get(&client, &format!("{CRDS}/widgets.acme.io")).await.json;
    let conditions: Vec<String> = definition["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .collect();
    assert_eq!(conditions, ["NamesAccepted=True", "Established=True"]);
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(definition["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(definition["spec"]["conversion"]["strategy"], "None");

    let made = post(&client, WIDGETS, &widget("a", json!({"color": "red", "size": null}))).await;
    assert_eq!((made.code, &made.json["spec"]), (201, &json!({"color": "red", "size": 3})));
    assert_eq!(made.json["metadata"]["generation"], 1);
    let list = get(&client, WIDGETS).await.json;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("WidgetList"), 1));
    let mut changed = made.json.clone();
    changed["spec"]["size"] = json!(5);
    let changed = put(&client, &format!("{WIDGETS}/a"), &changed).await;
    assert_eq!((changed.code, &changed.json["metadata"]["generation"]), (200, &json!(2)));
    let blind = put(&client, &format!("{WIDGETS}/a"), &widget("a", json!({}))).await;
    assert_eq!(
        (blind.code, &blind.json["details"]["causes"][0]["field"]),
        (422, &json!("metadata.resourceVersion"))
    );
    let stale = put(&client, &format!("{WIDGETS}/a"), &made.json).await;
    assert_eq!(stale.code, 409);
    let patched =
        merge(&client, &format!("{WIDGETS}/a"), &json!({"spec": {"color": "green"}})).await;
    assert_eq!(patched.json["spec"], json!({"color": "green", "size": 5}));
    let json_patch = json!([{"op": "replace", "path": "/spec/size", "value": 6}]).to_string();
    let headers = [("content-type", "application/json-patch+json")];
    let patched = send(&client, &format!("PATCH {WIDGETS}/a"), &headers, json_patch).await;
    assert_eq!(patched.json["spec"]["size"], 6);
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let refused = send(&client, &format!("PATCH {WIDGETS}/a"), &headers, "{}").await;
    assert_eq!(refused.code, 415);
    let gone = send(&client, &format!("DELETE {WIDGETS}/a"), &[], "").await;
    assert_eq!((gone.code, &gone.json["status"]), (200, &json!("Success")));
    for name in ["b", "c"] {
        post(&client, WIDGETS, &widget(name, json!({}))).await;
    }
    let gone = send(&client, &format!("DELETE {WIDGETS}"), &[], "").await;
    assert_eq!(gone.json["items"].as_array().unwrap().len(), 2);
    let dry = post(&client, &format!("{WIDGETS}?dryRun=All"), &widget("d", json!({}))).await;
    assert_eq!((dry.code, &dry.json["spec"]["size"]), (201, &json!(3)));
    assert_eq!(get(&client, &format!("{WIDGETS}/d")).await.code, 404);
    world.end().await;
}

#[tokio::test]
async fn every_master_serves_what_one_of_them_was_told() {
    let (mut world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let other = world.second().await;
    assert_eq!(post(&other, WIDGETS, &widget("a", json!({}))).await.code, 201);
    let mut gadgets = widgets(json!([version("v1", true, sized())]));
    gadgets["metadata"]["name"] = json!("gadgets.acme.io");
    gadgets["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    for (one, another) in [(&client, &other), (&other, &client)] {
        assert_eq!(post(one, CRDS, &gadgets).await.code, 201);
        let path = "/apis/acme.io/v1/namespaces/default/gadgets";
        assert_eq!(get(another, path).await.code, 200);
        let found = get(another, "/apis/acme.io/v1").await.json;
        assert!(found["resources"].as_array().unwrap().iter().any(|r| r["name"] == "gadgets"));
        gadgets["metadata"]["name"] = json!("gadgets.other.io");
        gadgets["spec"]["group"] = json!("other.io");
    }
    world.end().await;
}

#[tokio::test]
async fn wrong_objects_are_refused_field_by_field() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let refused = post(&client, WIDGETS, &widget("a", json!({"size": 11, "color": "blue"}))).await;
    assert_eq!((refused.code, &refused.json["reason"]), (422, &json!("Invalid")));
    let causes = refused.json["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["spec.color", "spec.size"]);
    assert_eq!(
        causes[0]["message"],
        r#"Unsupported value: "blue": supported values: "red", "green""#
    );
    assert!(refused.text.contains("Widget.acme.io \\\"a\\\" is invalid"), "{}", refused.text);
    let refused = post(&client, WIDGETS, &widget("a", json!({"size": "5"}))).await;
    let message = refused.json["details"]["causes"][0]["message"].clone();
    assert_eq!(
        message,
        r#"Invalid value: "string": spec.size in body must be of type integer: "string""#
    );
    let unknown = widget("a", json!({"sise": 5}));
    let strict = post(&client, &format!("{WIDGETS}?fieldValidation=Strict"), &unknown).await;
    assert_eq!(strict.code, 400);
    let message = strict.json["message"].as_str().unwrap();
    assert!(message.contains("strict decoding error: unknown field \"spec.sise\""), "{message}");
    let pruned = post(&client, &format!("{WIDGETS}?fieldValidation=Ignore"), &unknown).await;
    assert_eq!(pruned.json["spec"], json!({"size": 3}));
    let bad = json!({"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": "b", "labels": {"a": 1}}});
    assert_eq!(post(&client, WIDGETS, &bad).await.code, 400);
    world.end().await;
}

#[tokio::test]
async fn status_and_scale_are_paths_of_their_own() {
    let spec = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    let mut v1 = version("v1", true, spec);
    v1["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    let (world, client) = with_widgets(json!([v1])).await;
    let mut object = widget("a", json!({"replicas": 2}));
    object["status"] = json!({"replicas": 9});
    let made = post(&client, WIDGETS, &object).await.json;
    assert_eq!(made["status"], Value::Null);
    let path = format!("{WIDGETS}/a");
    let mut status = made.clone();
    status["status"] = json!({"replicas": 1, "selector": "app=x"});
    status["spec"]["replicas"] = json!(7);
    status["metadata"]["labels"] = json!({"ignored": "yes"});
    let status = put(&client, &format!("{path}/status"), &status).await.json;
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&status["metadata"]["generation"], &status["metadata"]["labels"]),
        (&json!(1), &Value::Null)
    );
    let scale = get(&client, &format!("{path}/scale")).await.json;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=x"}));
    let scaled = merge(&client, &format!("{path}/scale"), &json!({"spec": {"replicas": 4}})).await;
    assert_eq!((scaled.code, &scaled.json["spec"]["replicas"]), (200, &json!(4)));
    let object = get(&client, &path).await.json;
    assert_eq!(
        (&object["spec"]["replicas"], &object["metadata"]["generation"]),
        (&json!(4), &json!(2))
    );
    let change = json!({"metadata": {"labels": {"a": "b"}}, "status": {"replicas": 5}});
    let labelled = merge(&client, &path, &change);
    let labelled = labelled.await.json;
    assert_eq!(
        (&labelled["metadata"]["generation"], &labelled["status"]["replicas"]),
        (&json!(2), &json!(1))
    );
    world.end().await;
}

#[tokio::test]
async fn versions_share_their_objects() {
    let wide =
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let narrow = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let v1 = version("v1", true, wide.clone());
    let v2 = version("v2beta1", false, narrow.clone());
    let (world, client) = with_widgets(json!([v2, v1])).await;
    post(&client, WIDGETS, &widget("a", json!({"a": "1", "b": "2"}))).await;
    let old = "/apis/acme.io/v2beta1/namespaces/default/widgets";
    let seen = get(&client, &format!("{old}/a")).await.json;
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]),
        (&json!("acme.io/v2beta1"), &json!({"a": "1"}))
    );
    let list = get(&client, old).await.json;
    assert_eq!(list["apiVersion"], "acme.io/v2beta1");
    assert_eq!(list["items"][0]["apiVersion"], "acme.io/v2beta1");
    let mut made = widget("b", json!({"a": "3"}));
    made["apiVersion"] = json!("acme.io/v2beta1");
    assert_eq!(post(&client, old, &made).await.json["apiVersion"], "acme.io/v2beta1");
    assert_eq!(get(&client, &format!("{WIDGETS}/b")).await.json["apiVersion"], "acme.io/v1");
    let group = get(&client, "/apis/acme.io").await.json;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let versions: Vec<&str> = group["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["v1", "v2beta1"]);

    // The stored version moves on; what was stored before is read in the new one.
    let path = format!("{CRDS}/widgets.acme.io");
    let swapped = json!([version("v2beta1", true, narrow), version("v1", false, wide)]);
    let moved = merge(&client, &path, &json!({"spec": {"versions": swapped}})).await;
    assert_eq!(moved.json["status"]["storedVersions"], json!(["v1", "v2beta1"]), "{}", moved.text);
    let seen = get(&client, &format!("{old}/a")).await.json;
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]),
        (&json!("acme.io/v2beta1"), &json!({"a": "1"}))
    );
    let only = json!([version("v2beta1", true, json!({"type": "object"}))]);
    let refused = merge(&client, &path, &json!({"spec": {"versions": only}})).await;
    assert_eq!(refused.code, 422);
    assert_eq!(refused.json["details"]["causes"][0]["field"], "status.storedVersions[0]");
    world.end().await;
}

/// Lines of a watch, as `TYPE name`.
async fn watched(client: &kube::Client, path: &str, count: Option<usize>) -> Vec<String> {
    let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
    let mut body = client.send(request).await.unwrap().into_body().into_data_stream();
    let (mut seen, mut text) = (Vec::new(), String::new());
    let reading = async {
        while count.is_none_or(|count| seen.len() < count) {
            let Some(Ok(part)) = body.next().await else { break };
            text.push_str(&String::from_utf8_lossy(&part));
            while let Some(end) = text.find('\n') {
                let line: String = text.drain(..=end).collect();
                let event: Value = serde_json::from_str(&line).unwrap();
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or("").to_owned();
                seen.push(format!("{} {name}", event["type"].as_str().unwrap()));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the watch tells in time");
    seen
}

#[tokio::test]
async fn a_watch_tells_of_changes_and_ends_with_its_kind() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    post(&client, WIDGETS, &widget("a", json!({}))).await;
    let watching = {
        let client = client.clone();
        async move { watched(&client, "/apis/acme.io/v1/widgets?watch=1", None).await }
    };
    let acting = async {
        post(&client, WIDGETS, &widget("b", json!({}))).await;
        send(&client, &format!("DELETE {WIDGETS}/b"), &[], "").await;
        // Nobody cleans up in this world: the finalizer is taken away by hand.
        send(&client, &format!("DELETE {CRDS}/widgets.acme.io"), &[], "").await;
        let refused = post(&client, WIDGETS, &widget("c", json!({}))).await;
        assert_eq!(refused.code, 405, "{}", refused.text);
        let definition = get(&client, &format!("{CRDS}/widgets.acme.io")).await.json;
        let finalizers = &definition["metadata"]["finalizers"];
        assert_eq!(finalizers, &json!(["customresourcecleanup.apiextensions.k8s.io"]));
        send(&client, &format!("DELETE {WIDGETS}/a"), &[], "").await;
        let free = json!({"metadata": {"finalizers": null}});
        assert_eq!(merge(&client, &format!("{CRDS}/widgets.acme.io"), &free).await.code, 200);
    };
    let (seen, ()) = tokio::join!(watching, acting);
    assert_eq!(seen[0], "ADDED a");
    assert_eq!(seen.last().unwrap(), "DELETED a");
    assert_eq!(get(&client, WIDGETS).await.code, 404);
    assert_eq!(get(&client, "/apis/acme.io").await.code, 404);
    world.end().await;
}

#[tokio::test]
async fn fields_that_a_definition_names_can_be_selected_by() {
    let mut v1 = version("v1", true, sized());
    v1["selectableFields"] = json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]);
    let (world, client) = with_widgets(json!([v1])).await;
    post(&client, WIDGETS, &widget("r", json!({"color": "red"}))).await;
    post(&client, WIDGETS, &widget("g", json!({"color": "green", "size": 4}))).await;
    let names = async |selector: &str| -> Vec<String> {
        let list = get(&client, &format!("{WIDGETS}?fieldSelector={selector}")).await.json;
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("spec.color%3Dred").await, ["r"]);
    assert_eq!(names("spec.size%3D4").await, ["g"]);
    assert_eq!(names("spec.color!%3Dred,spec.size%3D4").await, ["g"]);
    let refused = get(&client, &format!("{WIDGETS}?fieldSelector=spec.other%3Dx")).await;
    assert_eq!(
        (refused.code, &refused.json["message"]),
        (400, &json!("field label not supported: spec.other"))
    );
    let path = "/apis/acme.io/v1/widgets?watch=1&fieldSelector=spec.color%3Dgreen";
    assert_eq!(watched(&client, path, Some(1)).await, ["ADDED g"]);
    world.end().await;
}

#[tokio::test]
async fn tables_have_the_columns_of_the_definition() {
    let mut v1 = version("v1", true, sized());
    v1["additionalPrinterColumns"] = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1}]);
    let (world, client) = with_widgets(json!([v1])).await;
    post(&client, WIDGETS, &widget("a", json!({"color": "red"}))).await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = send(&client, &format!("GET {WIDGETS}"), &accept, "").await.json;
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Name", "Size", "Color"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3, "red"]));
    world.end().await;
}

#[tokio::test]
async fn rules_in_cel_are_kept() {
    let spec = json!({"type": "object", "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}},
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min is above max"},
            {"rule": "self.max >= oldSelf.max", "messageExpression": "oldSelf.max > 4 ? 'max was more' : 'max was less'"}]});
    let (world, client) = with_widgets(json!([version("v1", true, spec)])).await;
    let refused = post(&client, WIDGETS, &widget("a", json!({"min": 2, "max": 1}))).await;
    assert_eq!(refused.code, 422);
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.contains("spec: Invalid value: min is above max"), "{message}");
    assert_eq!(post(&client, WIDGETS, &widget("a", json!({"min": 1, "max": 5}))).await.code, 201);
    let refused = merge(&client, &format!("{WIDGETS}/a"), &json!({"spec": {"max": 4}})).await;
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.contains("spec: Invalid value: max was more"), "{message}");
    let wrong = json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.b > 1"}]});
    let mut definition = widgets(json!([version("v1", true, wrong)]));
    definition["metadata"]["name"] = json!("widgets.other.io");
    definition["spec"]["group"] = json!("other.io");
    let refused = post(&client, CRDS, &definition).await;
    assert_eq!(refused.code, 422);
    assert!(refused.text.contains("undefined field 'b'"), "{}", refused.text);
    let costly = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}}}});
    definition["spec"]["versions"] = json!([version("v1", true, costly)]);
    let refused = post(&client, CRDS, &definition).await;
    assert_eq!(refused.code, 422);
    let reason = "estimated rule cost exceeds budget by factor of more than 100x";
    assert!(refused.text.contains(reason), "{}", refused.text);
    world.end().await;
}
