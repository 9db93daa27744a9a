//! Server-side apply on kinds that users define: how their objects divide is what the definition's schema says.

use serde_json::{Value, json};

use crate::applying::{Client, fields, managers};
use crate::crd::{version, widget, with_widgets};
use crate::world::{World, send};

const WIDGETS: &str = "/apis/acme.io/v1/namespaces/default/widgets";

/// Lists of every type, and objects of every type.
fn divided() -> Value {
    let texts = |list_type: &str| json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": list_type});
    json!({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "required": ["port"], "properties": {
                "port": {"type": "integer"},
                "protocol": {"type": "string", "default": "TCP"},
                "name": {"type": "string"},
            }},
        },
        "tags": texts("set"),
        "steps": texts("atomic"),
        "plain": {"type": "array", "items": {"type": "string"}},
        "limits": {"type": "object", "additionalProperties": {"type": "string"}},
        "place": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
            "x": {"type": "integer"}, "y": {"type": "integer"}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

async fn start() -> (World, Client) {
    let mut version = version("v1", true, divided());
    version["subresources"] = json!({"status": {}});
    let (world, client) = with_widgets(json!([version])).await;
    (world, Client(client))
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_divide_as_their_schema_says() {
    let (world, client) = start().await;
    let path = &format!("{WIDGETS}/a");
    let first = widget(
        "a",
        json!({
            "ports": [{"port": 80, "name": "web"}], "tags": ["a"], "steps": ["x", "y"], "plain": ["p"],
            "limits": {"cpu": "1"}, "place": {"x": 1}, "free": {"any": {"n": 1}, "list": [1, 2]},
        }),
    );
    let answer = client.apply(path, "one", "", first.clone()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(answer.json["spec"]["size"], 3);
    assert_eq!(answer.json["spec"]["ports"][0]["protocol"], "TCP");
    let port = r#"k:{"port":80,"protocol":"TCP"}"#;
    let owned = json!({"f:spec": {
        "f:free": {"f:any": {".": {}, "f:n": {}}, "f:list": {}},
        "f:limits": {"f:cpu": {}},
        "f:place": {},
        "f:plain": {},
        "f:ports": {port: {".": {}, "f:name": {}, "f:port": {}}},
        "f:steps": {},
        "f:tags": {r#"v:"a""#: {}},
    }});
    assert_eq!(fields(&answer.json, "one"), owned);
    let again = client.apply(path, "one", "", first).await;
    assert_eq!((again.code, &again.json), (200, &answer.json));

    // Emptied as it is wanted, and gone where it is not wanted any more.
    let path_b = &format!("{WIDGETS}/b");
    let limits = |limits: Value| widget("b", json!({"limits": limits, "free": {"a": 1}}));
    client.applied(path_b, "one", "", limits(json!({"cpu": "1"}))).await;
    let emptied = client.applied(path_b, "one", "", limits(json!({}))).await;
    assert_eq!(emptied["spec"]["limits"], json!({}));
    client.applied(path_b, "one", "", limits(json!({"cpu": "1"}))).await;
    let left = client.applied(path_b, "one", "", widget("b", json!({"free": {}}))).await;
    assert_eq!((left["spec"].get("limits"), &left["spec"]["free"]), (None, &json!({})));

    let more = widget(
        "a",
        json!({
            "ports": [{"port": 80, "protocol": "UDP"}], "tags": ["b"], "limits": {"memory": "2"},
            "free": {"any": {"m": 2}},
        }),
    );
    let both = client.applied(path, "two", "", more).await;
    let ports =
        json!([{"port": 80, "protocol": "TCP", "name": "web"}, {"port": 80, "protocol": "UDP"}]);
    assert_eq!(both["spec"]["ports"], ports);
    assert_eq!(both["spec"]["tags"], json!(["a", "b"]));
    assert_eq!(both["spec"]["limits"], json!({"cpu": "1", "memory": "2"}));
    assert_eq!(both["spec"]["free"], json!({"any": {"n": 1, "m": 2}, "list": [1, 2]}));
    assert_eq!(managers(&both), ["one Apply", "two Apply"]);

    // What the first does not mention any more goes, if nobody else has it.
    let less = client.applied(path, "one", "", widget("a", json!({"tags": ["b"]}))).await;
    let rest = json!({
        "ports": [{"port": 80, "protocol": "UDP"}], "tags": ["b"], "limits": {"memory": "2"},
        "free": {"any": {"m": 2}}, "size": 3,
    });
    assert_eq!(less["spec"], rest);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_on_custom_objects_name_the_item() {
    let (world, client) = start().await;
    let path = &format!("{WIDGETS}/a");
    let spec = json!({"ports": [{"port": 80, "name": "web"}], "place": {"x": 1}, "steps": ["x"]});
    client.applied(path, "one", "", widget("a", spec)).await;
    #[rustfmt::skip]
    let cases = [
        (json!({"ports": [{"port": 80, "name": "other"}]}), ".spec.ports[port=80,protocol=\"TCP\"].name"),
        (json!({"place": {"y": 2}}), ".spec.place"),
        (json!({"steps": ["x", "y"]}), ".spec.steps"),
    ];
    for (spec, field) in cases {
        let refused = client.apply(path, "two", "", widget("a", spec.clone())).await;
        let message = format!("Apply failed with 1 conflict: conflict with \"one\": {field}");
        let found = (refused.code, refused.json["message"].as_str());
        assert_eq!(found, (409, Some(&*message)), "{}", refused.text);
        let forced = client.applied(path, "two", "&force=true", widget("a", spec)).await;
        assert_eq!(managers(&forced), ["one Apply", "two Apply"]);
    }
    // One who updates takes over what he changes, and an apply meets him.
    let merge = [("content-type", "application/merge-patch+json")];
    let line = format!("PATCH {path}?fieldManager=hand");
    let changed = send(&client.0, &line, &merge, r#"{"spec":{"size":7}}"#).await;
    assert_eq!(
        fields(&changed.json, "hand"),
        json!({"f:spec": {"f:size": {}}}),
        "{}",
        changed.text
    );
    let refused = client.apply(path, "one", "", widget("a", json!({"size": 5}))).await;
    let message = refused.json["message"].as_str().unwrap();
    assert!(
        refused.code == 409
            && message.starts_with(
                "Apply failed with 1 conflict: conflict with \"hand\" using acme.io/v1"
            ),
        "{message}"
    );
    assert!(message.ends_with(": .spec.size"), "{message}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_a_custom_object_is_applied_through_its_own_path() {
    let (world, client) = start().await;
    let path = &format!("{WIDGETS}/a");
    let status = |ready: i32| {
        let mut object = widget("a", json!({"size": 9}));
        object["status"] = json!({"ready": ready});
        object
    };
    let missing = client.apply(&format!("{path}/status"), "ctl", "", status(1)).await;
    assert_eq!(missing.code, 404, "{}", missing.text);
    let made = client.applied(path, "one", "", status(5)).await;
    assert_eq!((&made["status"], &made["spec"]["size"]), (&Value::Null, &json!(9)));
    assert_eq!(fields(&made, "one"), json!({"f:spec": {"f:size": {}}}));
    let mut wanted = status(1);
    wanted["spec"]["size"] = json!(4);
    let shown = client.applied(&format!("{path}/status"), "ctl", "", wanted).await;
    assert_eq!((&shown["status"]["ready"], &shown["spec"]["size"]), (&json!(1), &json!(9)));
    assert_eq!(shown["metadata"]["generation"], 1);
    let mut found = managers(&shown);
    found.sort_unstable();
    assert_eq!(found, ["ctl Apply/status", "one Apply"]);
    assert_eq!(fields(&shown, "ctl")["f:status"], json!({"f:ready": {}}));
    assert_eq!(fields(&shown, "ctl")["f:spec"], Value::Null);
    let refused = client.apply(&format!("{path}/status"), "other", "", status(2)).await;
    let message = "Apply failed with 1 conflict: conflict with \"ctl\" with subresource \"status\": .status.ready";
    assert_eq!((refused.code, refused.json["message"].as_str()), (409, Some(message)));
    // The object itself is applied again: its status stays.
    let same = client.applied(path, "one", "", status(7)).await;
    assert_eq!(same["status"]["ready"], 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applier_moves_to_another_version_of_a_custom_kind() {
    let (world, client) = {
        let versions =
            json!([version("v1", true, divided()), version("v2beta1", false, divided())]);
        let (world, client) = with_widgets(versions).await;
        (world, Client(client))
    };
    client
        .applied(&format!("{WIDGETS}/a"), "one", "", widget("a", json!({"tags": ["a"], "size": 5})))
        .await;
    let mut newer = widget("a", json!({"tags": ["b"]}));
    newer["apiVersion"] = "acme.io/v2beta1".into();
    let path = "/apis/acme.io/v2beta1/namespaces/default/widgets/a";
    let moved = client.applied(path, "one", "", newer).await;
    assert_eq!(moved["spec"], json!({"tags": ["b"], "size": 3}));
    assert_eq!(managers(&moved), ["one Apply"]);
    assert_eq!(moved["metadata"]["managedFields"][0]["apiVersion"], "acme.io/v2beta1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_that_a_custom_kind_does_not_take_are_refused_in_upstreams_words() {
    let (world, client) = start().await;
    let path = &format!("{WIDGETS}/a");
    let unknown = client.apply(path, "one", "", widget("a", json!({"sizee": 1}))).await;
    let message = "failed to create typed patch object (/a; acme.io/v1, Kind=Widget): .spec.sizee: field not declared in schema";
    assert_eq!((unknown.code, unknown.json["message"].as_str()), (500, Some(message)));
    let twice = json!({"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]});
    let twice = client.apply(path, "one", "", widget("a", twice)).await;
    let message = "failed to create typed patch object (/a; acme.io/v1, Kind=Widget): .spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]";
    assert_eq!((twice.code, twice.json["message"].as_str()), (500, Some(message)));
    let wrong = client.apply(path, "one", "", widget("a", json!({"size": "large"}))).await;
    assert!(wrong.code >= 400, "{}", wrong.text);

    client.applied(path, "one", "", widget("a", json!({}))).await;
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    for line in [format!("PATCH {path}"), format!("PATCH {path}/status")] {
        let refused = send(&client.0, &line, &strategic, "{}").await;
        let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        let found =
            (refused.code, refused.json["reason"].as_str(), refused.json["message"].as_str());
        assert_eq!(found, (415, Some("UnsupportedMediaType"), Some(message)), "{}", refused.text);
    }
    world.end().await;
}
