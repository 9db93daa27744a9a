//! Server-side apply and the owners of fields, at the wire.

use serde_json::{Value, json};

use crate::world::{Answer, World, send};

pub(crate) const APPLY: &str = "application/apply-patch+yaml";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub(crate) struct Client(pub(crate) kube::Client);

impl Client {
    /// Applies a document as a manager; `more` is added to the query.
    pub(crate) async fn apply(
        &self,
        path: &str,
        manager: &str,
        more: &str,
        document: Value,
    ) -> Answer {
        let line = format!("PATCH {path}?fieldManager={manager}{more}");
        send(&self.0, &line, &[("content-type", APPLY)], document.to_string()).await
    }

    pub(crate) async fn applied(
        &self,
        path: &str,
        manager: &str,
        more: &str,
        document: Value,
    ) -> Value {
        let answer = self.apply(path, manager, more, document).await;
        assert!(matches!(answer.code, 200 | 201), "{}", answer.text);
        answer.json
    }

    async fn patch(&self, path: &str, kind: &str, patch: Value) -> Answer {
        let kind = format!("application/{kind}+json");
        send(&self.0, &format!("PATCH {path}"), &[("content-type", &kind)], patch.to_string()).await
    }

    async fn send(&self, line: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = send(&self.0, line, &[("content-type", "application/json")], body).await;
        assert!(answer.code < 300, "{line}: {}", answer.text);
        answer
    }
}

async fn start() -> (World, Client) {
    let world = World::bootstrapped().await;
    let client = Client(world.admin());
    (world, client)
}

/// A configuration; no labels are not mentioned.
fn map(labels: Value, data: Value) -> Value {
    let mut map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data});
    if labels != json!({}) {
        map["metadata"]["labels"] = labels;
    }
    map
}

fn deployment(spec: Value) -> Value {
    let mut all = json!({
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i:v1"}]},
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": all})
}

/// Each entry as `manager operation[/subresource]`.
pub(crate) fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let shown = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let subresource = text("subresource");
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{} {}{slash}{subresource}", text("manager"), text("operation"))
    };
    entries.iter().map(shown).collect()
}

/// What a manager owns.
pub(crate) fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let found = entries.into_iter().find(|entry| entry["manager"] == manager);
    found.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_then_changes_nothing_then_removes() {
    let (world, client) = start().await;
    let path = &format!("{MAPS}/m");
    let first = map(json!({"a": "1", "b": "2"}), json!({"k": "v", "l": "w"}));
    let answer = client.apply(path, "one", "", first.clone()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let made = answer.json;
    assert_eq!(managers(&made), ["one Apply"]);
    assert_eq!(
        fields(&made, "one"),
        json!({"f:data": {"f:k": {}, "f:l": {}}, "f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}})
    );
    let again = client.apply(path, "one", "", first).await;
    assert_eq!((again.code, &again.json), (200, &made));

    let less = client.applied(path, "one", "", map(json!({"b": "2"}), json!({"k": "x"}))).await;
    assert_eq!(less["metadata"]["labels"], json!({"b": "2"}));
    assert_eq!(less["data"], json!({"k": "x"}));
    assert_ne!(less["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let read = client.send(&format!("GET {path}"), Value::Null).await.json;
    assert_eq!(read, less);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_builds_on_what_was_written_before() {
    let (world, client) = start().await;
    // Many at once: memory lags behind the store.
    let rounds = async |name: usize| {
        let name = format!("m-{name}");
        let path = &format!("{MAPS}/{name}");
        let named = |data: Value| {
            let mut map = map(json!({}), data);
            map["metadata"]["name"] = name.as_str().into();
            map
        };
        for index in 0..50 {
            let at = index.to_string();
            client.applied(path, "one", "", named(json!({ "at": at }))).await;
            let dry = named(json!({ "dry": "yes" }));
            let dry = client.applied(path, "two", "&dryRun=All", dry).await;
            assert_eq!(dry["data"], json!({ "at": at, "dry": "yes" }));
        }
    };
    futures::future::join_all((0..16).map(rounds)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_told_field_by_field_and_force_takes_over() {
    let (world, client) = start().await;
    let path = &format!("{MAPS}/m");
    client.applied(path, "one", "", map(json!({}), json!({"k": "v", "l": "w"}))).await;
    let shared = client.applied(path, "two", "", map(json!({}), json!({"k": "v"}))).await;
    assert_eq!(managers(&shared), ["two Apply", "one Apply"]);

    let wanted = map(json!({}), json!({"k": "other"}));
    let refused = client.apply(path, "two", "&force=false", wanted.clone()).await;
    assert_eq!((refused.code, refused.json["reason"].as_str()), (409, Some("Conflict")));
    let message = "Apply failed with 1 conflict: conflict with \"one\": .data.k";
    assert_eq!(refused.json["message"], message);
    let cause = json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.k"}]);
    assert_eq!(refused.json["details"]["causes"], cause);

    let forced = client.applied(path, "two", "&force=true", wanted).await;
    assert_eq!(forced["data"], json!({"k": "other", "l": "w"}));
    assert_eq!(fields(&forced, "one")["f:data"], json!({"f:l": {}}));
    assert_eq!(fields(&forced, "two")["f:data"], json!({"f:k": {}}));

    // Nothing is written by a dry run.
    let dry = client.applied(path, "two", "&dryRun=All", map(json!({}), json!({"z": "1"}))).await;
    assert_eq!(dry["data"], json!({"l": "w", "z": "1"}));
    let read = client.send(&format!("GET {path}"), Value::Null).await.json;
    assert_eq!(read, forced);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_notes_who_changed_what() {
    let (world, client) = start().await;
    let path = &format!("{DEPLOYMENTS}/d");
    let made = client
        .send(&format!("POST {DEPLOYMENTS}?fieldManager=maker"), deployment(json!({"replicas": 1})))
        .await
        .json;
    assert_eq!(managers(&made), ["maker Update"]);
    let owned = fields(&made, "maker");
    assert_eq!(owned["f:spec"]["f:replicas"], json!({}));
    // Defaults are the maker's, too; system metadata and status are nobody's.
    assert_eq!(owned["f:spec"]["f:strategy"]["f:type"], json!({}));
    assert_eq!(owned["f:metadata"], Value::Null);
    assert_eq!(owned["f:status"], Value::Null);
    let container = &owned["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!((&container["."], &container["f:image"]), (&json!({}), &json!({})));

    let scale = json!({"spec": {"replicas": 3}});
    client.patch(&format!("{path}/scale?fieldManager=scaler"), "merge-patch", scale).await;
    let status = json!({"status": {"replicas": 2, "observedGeneration": 1}});
    client.patch(&format!("{path}/status?fieldManager=watcher"), "merge-patch", status).await;
    let labels = json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]);
    client.patch(&format!("{path}?fieldManager=labeler"), "json-patch", labels).await;
    let read = client.send(&format!("GET {path}"), Value::Null).await.json;
    let mut found = managers(&read);
    found.sort();
    let expected =
        ["labeler Update", "maker Update", "scaler Update/scale", "watcher Update/status"];
    assert_eq!(found, expected);
    assert_eq!(fields(&read, "scaler"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&read, "labeler"), json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}));
    assert_eq!(
        fields(&read, "watcher"),
        json!({"f:status": {"f:observedGeneration": {}, "f:replicas": {}}})
    );
    assert_eq!(fields(&read, "maker")["f:spec"]["f:replicas"], Value::Null);

    // An update that changes nothing is nobody's, and writes nothing.
    let same = client.send(&format!("PUT {path}?fieldManager=idle"), read.clone()).await.json;
    assert_eq!(same, read);
    // Without a name a client is called what it calls itself.
    let headers =
        [("content-type", "application/merge-patch+json"), ("user-agent", "robot/1.0 (x)")];
    let patch = json!({"metadata": {"labels": {"z": "1"}}}).to_string();
    let named = send(&client.0, &format!("PATCH {path}"), &headers, patch).await.json;
    assert!(managers(&named).contains(&"robot Update".to_owned()), "{:?}", managers(&named));

    // The list can be emptied, and then nobody owns anything until somebody applies.
    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let bare = client.patch(path, "json-patch", reset).await.json;
    assert_eq!(managers(&bare), [""; 0]);
    let labels = json!({"metadata": {"labels": {"x": "z"}}});
    let bare = client.patch(&format!("{path}?fieldManager=late"), "merge-patch", labels).await.json;
    assert_eq!(managers(&bare), [""; 0]);
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"x": "z"}}});
    let owned = client.applied(path, "one", "", config).await;
    assert_eq!(managers(&owned), ["one Apply", "before-first-apply Update"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_owned_item_by_item_where_the_kind_says_so() {
    let (world, client) = start().await;
    let path = "/api/v1/namespaces/default/services/s";
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"selector": {"a": "b"}, "ports": ports}})
    };
    let both =
        json!([{"name": "dns", "port": 53}, {"name": "dns-udp", "port": 53, "protocol": "UDP"}]);
    let made = client.applied(path, "one", "", service(both)).await;
    let ports = &fields(&made, "one")["f:spec"]["f:ports"];
    assert_eq!(
        ports["k:{\"port\":53,\"protocol\":\"TCP\"}"],
        json!({".": {}, "f:name": {}, "f:port": {}})
    );
    let udp = "k:{\"port\":53,\"protocol\":\"UDP\"}";
    assert_eq!(ports[udp], json!({".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}}));
    assert_eq!(fields(&made, "one")["f:spec"]["f:selector"], json!({}));
    let added =
        client.applied(path, "two", "", service(json!([{"name": "web", "port": 80}]))).await;
    assert_eq!(added["spec"]["ports"].as_array().unwrap().len(), 3);
    let less = service(json!([{"name": "dns-udp", "port": 53, "protocol": "UDP"}]));
    let left = client.applied(path, "one", "", less).await;
    let ports = left["spec"]["ports"].as_array().unwrap();
    let names: Vec<&str> = ports.iter().filter_map(|port| port["name"].as_str()).collect();
    assert_eq!(names, ["dns-udp", "web"]);

    // A set: the finalizer of one goes, that of the other stays.
    let map_path = &format!("{MAPS}/m");
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "finalizers": finalizers}});
    client.applied(map_path, "one", "", with(json!(["example.com/one"]))).await;
    let both = client.applied(map_path, "two", "", with(json!(["example.com/two"]))).await;
    assert_eq!(both["metadata"]["finalizers"], json!(["example.com/one", "example.com/two"]));
    let left = client.applied(map_path, "one", "", with(json!([]))).await;
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/two"]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_may_be_left_to_a_scaler() {
    let (world, client) = start().await;
    let path = &format!("{DEPLOYMENTS}/d");
    client.applied(path, "one", "", deployment(json!({"replicas": 2}))).await;
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}});
    let refused = client.apply(&format!("{path}/scale"), "scaler", "", scale.clone()).await;
    assert_eq!(refused.code, 409, "{}", refused.text);
    let scaled = client.applied(&format!("{path}/scale"), "scaler", "&force=true", scale).await;
    assert_eq!((scaled["kind"].as_str(), &scaled["spec"]["replicas"]), (Some("Scale"), &json!(5)));
    // Who owned it hears of it, and may let go.
    let refused = client.apply(path, "one", "", deployment(json!({"replicas": 2}))).await;
    let message = refused.json["message"].as_str().unwrap_or_default();
    assert!(message.contains("conflict with \"scaler\" with subresource \"scale\""), "{message}");
    let left = client.applied(path, "one", "", deployment(json!({}))).await;
    assert_eq!(left["spec"]["replicas"], 5);
    assert_eq!(managers(&left), ["one Apply", "scaler Apply/scale"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_empty_is_owned_too() {
    let (world, client) = start().await;
    let maps = &format!("{MAPS}/m");
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data});
    let made = client.applied(maps, "one", "", map(json!({}))).await;
    let owned = |object: &Value| object["metadata"]["managedFields"][0]["fieldsV1"].clone();
    assert_eq!((owned(&made), made.get("data")), (json!({"f:data": {}}), None));
    let again = client.applied(maps, "one", "", map(json!({}))).await;
    assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let refused = client.apply(maps, "two", "", map(Value::Null)).await;
    assert_eq!(refused.code, 409, "{}", refused.text);
    assert_eq!(refused.json["details"]["causes"][0]["field"], ".data");

    // Who empties it leaves it to the other who wants it empty, too.
    let labelled = |labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "labels": labels}});
    let other = &format!("{MAPS}/n");
    client.applied(other, "one", "", labelled(json!({"a": "1"}))).await;
    client.applied(other, "two", "", labelled(json!({}))).await;
    let emptied = client.applied(other, "one", "", labelled(json!({}))).await;
    assert_eq!(
        (managers(&emptied), emptied["metadata"].get("labels")),
        (vec!["two Apply".to_owned(), "one Apply".to_owned()], None)
    );

    // Null is no number of replicas: one is what there is without any.
    let path = &format!("{DEPLOYMENTS}/d");
    client.applied(path, "one", "", deployment(json!({"replicas": 2, "strategy": {}}))).await;
    let none = deployment(json!({"replicas": null}));
    let refused = client.apply(path, "two", "", none.clone()).await;
    assert_eq!(
        (refused.code, &refused.json["details"]["causes"][0]["field"]),
        (409, &json!(".spec.replicas"))
    );
    let forced = client.applied(path, "two", "&force=true", none).await;
    assert_eq!(forced["spec"]["replicas"], 1);
    let refused = client.apply(path, "one", "", deployment(json!({"replicas": 2}))).await;
    assert_eq!(
        (refused.code, &refused.json["details"]["causes"][0]["field"]),
        (409, &json!(".spec.replicas"))
    );
    let left = client.applied(path, "one", "", deployment(json!({}))).await;
    assert_eq!(left["spec"]["strategy"]["type"], "RollingUpdate");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_applied_through_its_own_path() {
    let (world, client) = start().await;
    let path = &format!("{DEPLOYMENTS}/d");
    let status = |count: i32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 9}, "status": {"replicas": count}})
    };
    let missing = client.apply(&format!("{path}/status"), "one", "", status(1)).await;
    assert_eq!(missing.code, 404, "{}", missing.text);
    client.applied(path, "one", "", deployment(json!({"replicas": 2}))).await;
    let shown = client.applied(&format!("{path}/status"), "two", "&force=true", status(1)).await;
    assert_eq!((&shown["status"]["replicas"], &shown["spec"]["replicas"]), (&json!(1), &json!(2)));
    assert_eq!(fields(&shown, "two"), json!({"f:status": {"f:replicas": {}}}));
    let conflict = client.apply(&format!("{path}/status"), "three", "", status(3)).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text);
    // A status in a configuration of the object itself is not owned, and not kept.
    let mut config = deployment(json!({"replicas": 2}));
    config["status"] = json!({"replicas": 7});
    let same = client.applied(path, "one", "", config).await;
    assert_eq!(same["status"]["replicas"], 1);
    assert_eq!(fields(&same, "one")["f:status"], Value::Null);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_applies_are_refused_in_upstreams_words() {
    let (world, client) = start().await;
    let path = &format!("{MAPS}/m");
    let good = map(json!({}), json!({"k": "v"}));
    let with = |field: &str, value: Value| {
        let mut wrong = good.clone();
        *wrong.pointer_mut(field).unwrap() = value;
        wrong
    };
    let mut unknown = good.clone();
    unknown["dataa"] = json!({});
    let mut managed = good.clone();
    managed["metadata"]["managedFields"] = json!([]);
    let mut uid = good.clone();
    uid["metadata"]["uid"] = "x".into();
    #[rustfmt::skip]
    let cases = [
        ("", "", &good, 422, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"),
        ("a%00b", "", &good, 422, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\x00b\": invalid character U+0000 (at position 1)"),
        ("one", "", &managed, 400, "metadata.managedFields must be nil"),
        ("one", "", &with("/apiVersion", "v2".into()), 400, "invalid object type: /v2, Kind=ConfigMap"),
        ("one", "", &with("/metadata/name", "n".into()), 400, "the name of the object (n) does not match the name on the URL (m)"),
        ("one", "", &unknown, 500, "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .dataa: field not declared in schema"),
        ("one", "", &uid, 409, "Operation cannot be fulfilled on configmaps \"m\": uid mismatch: the provided object specified uid x, and no existing object was found"),
    ];
    for (manager, more, document, code, message) in cases {
        let answer = client.apply(path, manager, more, document.clone()).await;
        let found = (answer.code, answer.json["message"].as_str());
        assert_eq!(found, (code, Some(message)), "{}", answer.text);
    }
    let cbor = [("content-type", "application/apply-patch+cbor")];
    let answer = send(&client.0, &format!("PATCH {path}?fieldManager=one"), &cbor, "x").await;
    assert_eq!(answer.code, 415, "{}", answer.text);
    let merge = [("content-type", "application/merge-patch+json")];
    let answer = send(&client.0, &format!("PATCH {path}?force=true"), &merge, "{}").await;
    let message = "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch";
    assert_eq!((answer.code, answer.json["message"].as_str()), (422, Some(message)));

    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  k: a\n  k: b\n";
    let yaml = [("content-type", APPLY)];
    let line = |how: &str| format!("PATCH {path}?fieldManager=one&fieldValidation={how}");
    let strict = send(&client.0, &line("Strict"), &yaml, twice).await;
    let message = strict.json["message"].as_str().unwrap_or_default();
    assert!(
        strict.code == 400 && message.contains("line 7: key \"k\" already set in map"),
        "{message}"
    );
    let warned = send(&client.0, &line("Warn"), &yaml, twice).await;
    assert_eq!((warned.code, &warned.json["data"]["k"]), (201, &json!("b")), "{}", warned.text);
    // A version that is not the newest.
    let mut stale = good.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    let answer = client.apply(path, "one", "&force=true", stale).await;
    assert_eq!((answer.code, answer.json["reason"].as_str()), (409, Some("Conflict")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_kubectl_apply_are_taken_over_as_kubectl_does_it() {
    let (world, client) = start().await;
    let path = &format!("{MAPS}/m");
    let config = map(json!({"a": "1"}), json!({"k": "v"}));
    let note = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = config.clone();
    object["metadata"]["annotations"] = json!({note: config.to_string()});
    let post = format!("POST {MAPS}?fieldManager=kubectl-client-side-apply");
    client.send(&post, object).await;
    // Its fields are no conflict for kubectl, and its annotation follows.
    let changed = map(json!({"a": "1"}), json!({"k": "w"}));
    let applied = client.applied(path, "kubectl", "", changed.clone()).await;
    assert_eq!(applied["data"]["k"], "w");
    let kept: Value =
        serde_json::from_str(applied["metadata"]["annotations"][note].as_str().unwrap()).unwrap();
    assert_eq!(kept, changed);
    assert_eq!(managers(&applied), ["kubectl Apply", "kubectl-client-side-apply Update"]);
    // kubectl joins the two entries with a patch of the list.
    let mut joined = applied["metadata"]["managedFields"][1].clone();
    joined["manager"] = "kubectl".into();
    joined["operation"] = "Apply".into();
    joined["fieldsV1"]["f:data"] = json!({".": {}, "f:k": {}});
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": [joined]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": applied["metadata"]["resourceVersion"]},
    ]);
    let joined = client.patch(path, "json-patch", patch).await;
    assert_eq!(managers(&joined.json), ["kubectl Apply"], "{}", joined.text);
    let less = client.applied(path, "kubectl", "", map(json!({}), json!({}))).await;
    assert_eq!((&less["metadata"]["labels"], &less["data"]), (&Value::Null, &Value::Null));
    world.end().await;
}
