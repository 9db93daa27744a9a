//! Where a path, or a part of an object, takes more or less than its name says, as kube-apiserver 1.36.3 has it.

use serde_json::{Value, json};

use crate::crd::{
    CRDS, WIDGETS, get, merge, post, put, sized, version, widget, widgets, with_widgets,
};
use crate::world::{World, send};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

/// A world in which pods can be made.
async fn with_an_account() -> (World, kube::Client) {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let account = json!({"metadata": {"name": "default"}});
    let made = post(&client, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    assert_eq!(made.code, 201, "{}", made.text);
    (world, client)
}

#[tokio::test]
async fn names_in_paths_of_custom_objects_count_where_upstream_reads_them() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let one = widget("a", json!({"size": 1}));
    let made = post(&client, &format!("{WIDGETS}/other"), &one).await;
    assert_eq!((made.code, &made.json["metadata"]["name"]), (201, &json!("a")), "{}", made.text);
    for answer in [put(&client, WIDGETS, &one).await, merge(&client, WIDGETS, &json!({})).await] {
        assert_eq!((answer.code, &answer.json["message"]), (400, &json!("name must be provided")));
    }
    let below = get(&client, &format!("{WIDGETS}/a/nope")).await;
    assert_eq!(
        (below.code, &below.json["message"]),
        (404, &json!("widgets.acme.io \"a\" not found"))
    );
    assert_eq!(below.json["details"], json!({"name": "a", "group": "acme.io", "kind": "widgets"}));
    world.end().await;
}

#[tokio::test]
async fn an_applied_value_of_another_type_is_told_by_its_path() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    #[rustfmt::skip]
    let cases = [
        (format!("{WIDGETS}/a?fieldManager=m"), r#"{"apiVersion": "acme.io/v1", "kind": "Widget", "spec": {"size": "x"}}"#,
         "failed to create typed patch object (/; acme.io/v1, Kind=Widget): .spec.size: expected numeric (int or float), got string"),
        (format!("{WIDGETS}/a?fieldManager=m"), r#"{"apiVersion": "acme.io/v1", "kind": "Widget", "spec": "x"}"#,
         "failed to create typed patch object (/; acme.io/v1, Kind=Widget): .spec: expected map, got &{x}"),
        ("/api/v1/namespaces/default/configmaps/a?fieldManager=m".to_owned(), r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": {}}}"#,
         "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{}}"),
    ];
    for (path, body, message) in cases {
        let answer = send(&client, &format!("PATCH {path}"), &apply, body).await;
        assert_eq!((answer.code, &answer.json["message"]), (500, &json!(message)), "{body}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_deletion_of_a_definition_is_no_change_of_it_and_leaves_no_dependents_to_others() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let path = format!("{CRDS}/widgets.acme.io");
    let options = json!({"propagationPolicy": "Foreground"}).to_string();
    let json = ("content-type", "application/json");
    let going = send(&client, &format!("DELETE {path}"), &[json], options).await.json;
    assert_eq!(going["metadata"]["generation"], 1);
    let finalizers = json!(["customresourcecleanup.apiextensions.k8s.io"]);
    assert_eq!(going["metadata"]["finalizers"], finalizers);
    world.end().await;
}

#[tokio::test]
async fn the_status_of_a_definition_can_be_cleared_but_for_where_objects_are() {
    let (world, client) = with_widgets(json!([version("v1", true, sized())])).await;
    let path = format!("{CRDS}/widgets.acme.io/status");
    let cleared = merge(&client, &path, &json!({"status": null})).await;
    assert_eq!(cleared.code, 200, "{}", cleared.text);
    assert_eq!(cleared.json["status"]["storedVersions"], json!(["v1"]));
    let other = widgets(json!([version("v1", true, sized())]));
    assert_eq!(post(&client, CRDS, &other).await.code, 409);
    world.end().await;
}

#[tokio::test]
async fn owners_and_finalizers_come_with_a_status_where_upstream_lets_them() {
    let (world, client) = with_an_account().await;
    let said = json!({"metadata": {"finalizers": ["a.b/c"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"metadata": {"name": "x"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false}});
    #[rustfmt::skip]
    let cases = [
        ("/apis/apps/v1/namespaces/default/replicasets", set, true),
        ("/api/v1/namespaces/default/pods",              pod, false),
    ];
    for (path, object, has_owner) in cases {
        assert_eq!(post(&client, path, &object).await.code, 201);
        let written = merge(&client, &format!("{path}/x/status"), &said).await;
        assert_eq!(written.json["metadata"]["finalizers"], json!(["a.b/c"]), "{path}");
        assert_eq!(written.json["metadata"]["ownerReferences"].is_array(), has_owner, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_bound_pod_has_the_zone_of_its_node_among_its_labels() {
    let (world, client) = with_an_account().await;
    let (zone, region) = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region");
    let node =
        json!({"metadata": {"name": "n", "labels": {zone: "z1", region: "r1", "other": "o"}}});
    assert_eq!(post(&client, "/api/v1/nodes", &node).await.code, 201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b", zone: "mine"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false}});
    assert_eq!(post(&client, pods, &pod).await.code, 201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(post(&client, &format!("{pods}/p/binding"), &binding).await.code, 201);
    let labels = get(&client, &format!("{pods}/p")).await.json["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"a": "b", zone: "z1", region: "r1"}));
    world.end().await;
}

#[tokio::test]
async fn the_source_of_a_claim_does_not_change() {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let source =
        json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}, "dataSource": source}});
    let made = post(&client, CLAIMS, &claim).await.json;
    assert_eq!(made["spec"]["dataSourceRef"], source);
    let mut bare = source.clone();
    bare.as_object_mut().unwrap().remove("apiGroup");
    for other in
        [json!({}), bare, json!({"apiGroup": "a.b", "kind": "VolumeSnapshot", "name": "s"})]
    {
        let mut changed = made.clone();
        changed["spec"]["dataSource"] = other.clone();
        let answer = put(&client, &format!("{CLAIMS}/c"), &changed).await;
        assert_eq!(answer.code, 422, "{other}: {}", answer.text);
        assert!(
            answer.text.contains("spec is immutable after creation"),
            "{other}: {}",
            answer.text
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_list_of_a_version_that_is_not_there_yet_is_late() {
    let world = World::bootstrapped().await;
    let client = world.impatient();
    let path = "/api/v1/namespaces/default/configmaps?resourceVersion=99999999999";
    let Value::Object(status) = get(&client, path).await.json else { panic!("no Status") };
    assert_eq!((&status["code"], &status["reason"]), (&json!(504), &json!("Timeout")));
    let details = json!({"causes": [{"message": "Too large resource version", "reason": "ResourceVersionTooLarge"}],
        "retryAfterSeconds": 1});
    assert_eq!(status["details"], details);
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("Timeout: Too large resource version: 99999999999, current: "));
    world.end().await;
}

#[tokio::test]
async fn an_event_is_told_as_of_the_core_group_and_named_as_its_own_group_wants_it() {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let event = |name: &str| {
        json!({"metadata": {"name": name}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "r",
            "action": "a", "type": "Normal", "reportingController": "c/d", "reportingInstance": "i", "eventTime": "2026-01-01T00:00:00.000000Z"})
    };
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let refused = post(&client, events, &event("Bad_")).await;
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.starts_with("Event \"Bad_\" is invalid: metadata.name: Invalid value: \"Bad_\": a lowercase RFC 1123 subdomain"), "{message}");
    assert_eq!(post(&client, events, &event("x")).await.code, 201);
    world.end().await;
}
