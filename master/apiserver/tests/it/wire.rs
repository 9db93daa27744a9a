//! Details of the wire: codes, texts, tables, pages.

use serde_json::json;

use crate::world::{World, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn with_maps(count: usize) -> (World, kube::Client) {
    let world = World::start().await;
    let client = world.admin();
    let namespace = json!({"metadata": {"name": "a"}}).to_string();
    assert_eq!(send(&client, "POST /api/v1/namespaces", &[JSON], namespace).await.code, 201);
    for index in 0..count {
        let map = json!({"metadata": {"name": format!("m{index:02}")}}).to_string();
        let made = send(&client, "POST /api/v1/namespaces/a/configmaps", &[JSON], map).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    (world, client)
}

#[tokio::test]
async fn pages_are_of_one_revision_even_when_objects_change_between() {
    let (world, client) = with_maps(5).await;
    let first = send(&client, "GET /api/v1/namespaces/a/configmaps?limit=2", &[], "").await.json;
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let version = first["metadata"]["resourceVersion"].clone();
    send(&client, "DELETE /api/v1/namespaces/a/configmaps/m03", &[], "").await;
    let mut names = Vec::new();
    let mut page = first;
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], version);
        let items = page["items"].as_array().unwrap();
        names
            .extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        let line = format!("GET /api/v1/namespaces/a/configmaps?limit=2&continue={token}");
        page = send(&client, &line, &[], "").await.json;
    }
    assert_eq!(names, ["m00", "m01", "m02", "m03", "m04"]);
    world.end().await;
}

#[tokio::test]
async fn patches_are_refused_with_the_codes_and_texts_of_upstream() {
    let (world, client) = with_maps(1).await;
    let (merge, json, strategic, apply) =
        ("merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml");
    #[rustfmt::skip]
    let cases = [
        (merge, "[]", 400, "cannot unmarshal array into Go value of type map[string]interface {}"),
        (merge, r#"{"data": {"a": 1}}"#, 422, "is invalid: patch: Invalid value: "),
        (merge, r#"{"data": {"a": 1}}"#, 422, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (merge, r#"{"kind": "Pod"}"#, 422, "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        (merge, r#"{"metadata": {"namespace": "b"}}"#, 400, "the namespace of the provided object does not match the namespace sent on the request"),
        (json, r#"[{"op": "test", "path": "/data", "value": {"a": "b"}}]"#, 422, "the server rejected our request due to an error in our request"),
        (strategic, r#"{"data": "x"}"#, 422, "is invalid: patch: Invalid value: "),
        (apply, r#"{"apiVersion": "v1", "kind": "Pod"}"#, 400, "invalid object type: /v1, Kind=Pod"),
        (apply, r#"{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": 1}}"#, 500, "failed to create typed patch object (/; /v1, Kind=ConfigMap): "),
    ];
    for (media, body, code, text) in cases {
        let media = format!("application/{media}");
        let line = "PATCH /api/v1/namespaces/a/configmaps/m00?fieldManager=m";
        let answer = send(&client, line, &[("content-type", &media)], body).await;
        assert_eq!(answer.code, code, "{media} {body}: {}", answer.text);
        let said = answer.json["message"].as_str().unwrap();
        assert!(said.contains(text), "{media} {body}: {said}");
    }
    world.end().await;
}

#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_upstream() {
    let (world, client) = with_maps(1).await;
    let maps = "/api/v1/namespaces/a/configmaps";
    let asked = "/apis/authorization.k8s.io/v1";
    let named = |name: &str| json!({"metadata": {"name": name}}).to_string();
    #[rustfmt::skip]
    let cases = [
        (format!("GET {maps}/none"), String::new(), 404, "configmaps \"none\" not found"),
        (format!("POST {maps}"), named("m00"), 409, "configmaps \"m00\" already exists"),
        (format!("POST {maps}"), "{".into(), 400, "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({)"),
        (format!("POST {maps}"), json!({"apiVersion": "v2", "kind": "ConfigMap"}).to_string(), 400, "no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/runtime/scheme.go:111\""),
        (format!("POST {maps}?fieldValidation=Some"), named("x"), 422, "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Some\""),
        (format!("PUT {maps}"), named("x"), 405, "the server does not allow this method on the requested resource"),
        (format!("POST {maps}"), named("Not_A_Name"), 422, "ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value"),
        (format!("POST {maps}"), json!({"kind": "Pod", "metadata": {"name": "x"}}).to_string(), 400, "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        (format!("POST {maps}"), json!({"metadata": {"name": "x", "namespace": "b"}}).to_string(), 400, "the namespace of the provided object does not match the namespace sent on the request"),
        ("POST /api/v1/namespaces/none/configmaps".into(), named("x"), 404, "namespaces \"none\" not found"),
        (format!("PUT {maps}/m00"), named("other"), 400, "does not match the name on the URL"),
        (format!("GET {maps}?labelSelector=a%20b"), String::new(), 400, ""),
        (format!("GET {maps}?fieldSelector=spec.x=y"), String::new(), 400, "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        (format!("GET {maps}?limit=x"), String::new(), 400, ""),
        (format!("POST {asked}/subjectaccessreviews"), "{}".into(), 422, ".authorization.k8s.io \"\" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user or group must be specified]"),
        (format!("POST {asked}/namespaces/a/localsubjectaccessreviews"), json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}}).to_string(), 422, "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace"),
        ("GET /api/v1/nosuch".into(), String::new(), 404, "the server could not find the requested resource"),
        ("GET /apis/apps/v1/things".into(), String::new(), 404, "the server could not find the requested resource"),
        ("GET /api/v1/namespaces/a/nodes/n".into(), String::new(), 404, "the server could not find the requested resource"),
        ("POST /api/v1/configmaps".into(), named("x"), 405, ""),
        ("GET /api/v1/namespaces/a%2Fb/configmaps".into(), String::new(), 404, "the server could not find the requested resource"),
        (format!("GET {maps}/%2e%2e"), String::new(), 400, "Name parameter invalid: \"..\": may not be '..'"),
        (format!("POST {asked}/subjectaccessreviews"), json!({"metadata": {"name": "x"}, "spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}}).to_string(), 422, "must be empty"),
        (format!("DELETE {maps}/m00"), "[]".into(), 400, "couldn't get version/kind; json parse error: json: cannot unmarshal array"),
        (format!("DELETE {maps}/m00"), json!({"gracePeriodSeconds": "x"}).to_string(), 400, "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
        (format!("DELETE {maps}/m00"), json!({"orphanDependents": true, "propagationPolicy": "Orphan"}).to_string(), 422, "orphanDependents and deletionPropagation cannot be both set"),
        (format!("DELETE {maps}/m00"), json!({"preconditions": {"uid": "u"}}).to_string(), 409, "on ConfigMap \"m00\": the UID in the precondition (u) does not match the UID in record ("),
    ];
    for (line, body, code, text) in cases {
        let answer = send(&client, &line, &[JSON], body).await;
        assert_eq!(answer.code, code, "{line}: {}", answer.text);
        assert!(answer.text.replace("\\\"", "\"").contains(text), "{line}: {}", answer.text);
        assert_eq!((&answer.json["kind"], &answer.json["code"]), (&json!("Status"), &json!(code)));
    }
    world.end().await;
}

/// What kube-apiserver 1.36.3 answered to the same requests.
#[tokio::test]
async fn parameters_of_reads_are_judged_as_upstream_judges_them() {
    let (world, client) = with_maps(1).await;
    let maps = "/api/v1/namespaces/a/configmaps";
    let no_number = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    let no_match = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided";
    #[rustfmt::skip]
    let cases = [
        ("GET", "/m00?resourceVersion=abc", 500, no_number),
        ("GET", "?resourceVersion=abc", 400, no_number),
        ("GET", "?watch=1&resourceVersion=abc", 500, no_number),
        ("GET", "?watch=1&continue=x", 422, no_match),
        ("GET", "?resourceVersionMatch=Exact&limit=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("GET", "?continue=junk&resourceVersion=abc", 400, "invalid continue token: continue key is not valid: invalid character '\\u008e' looking for beginning of value"),
        ("GET", "?continue=e30", 400, "invalid continue token"),
        ("GET", "/m00?timeout=x", 400, "invalid timeout specified in the request URL - time: invalid duration \"x\""),
        ("GET", "/m00?includeObject=Nope", 200, "m00"),
        ("GET", "?fieldSelector=metadata.name%3Dl1%5C%2Cx", 200, "\"items\":[]"),
        ("GET", "?fieldSelector=metadata.name%3Dm00%2Cmetadata.namespace%3Dm00", 200, "\"items\":[]"),
        ("DELETE", "?limit=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("DELETE", "?continue=junk", 400, "invalid continue token"),
        ("DELETE", "?sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ("DELETE", "/m00?propagationPolicy=", 422, "propagationPolicy: Unsupported value: \"\""),
    ];
    for (method, query, code, text) in cases {
        let answer = send(&client, &format!("{method} {maps}{query}"), &[], "").await;
        assert_eq!(answer.code, code, "{method} {query}: {}", answer.text);
        let said = answer.text.replace("\\\"", "\"");
        assert!(said.replace("\\\\", "\\").contains(text), "{method} {query}: {said}");
    }
    let accepts = |form: &str| format!("application/json;as={form};g=meta.k8s.io;v=v1");
    for (query, form, text) in [
        (
            "/m00",
            "PartialObjectMetadataList",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
        (
            "",
            "PartialObjectMetadata",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
    ] {
        let accept = accepts(form);
        let answer = send(&client, &format!("GET {maps}{query}"), &[("accept", &accept)], "").await;
        assert_eq!((answer.code, answer.json["message"].as_str()), (406, Some(text)));
    }
    world.end().await;
}

/// What kube-apiserver 1.36.3 answered to the same requests.
#[tokio::test]
async fn subresources_are_for_their_verbs_and_objects() {
    let (world, client) = with_maps(1).await;
    let pods = "/api/v1/namespaces/a/pods";
    let account = json!({"metadata": {"name": "default"}}).to_string();
    send(&client, "POST /api/v1/namespaces/a/serviceaccounts", &[JSON], account).await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(send(&client, &format!("POST {pods}"), &[JSON], pod.to_string()).await.code, 201);
    let target = |name: &str, target: serde_json::Value| {
        json!({"metadata": {"name": name}, "target": target}).to_string()
    };
    #[rustfmt::skip]
    let cases = [
        (format!("PUT {pods}/p/log"), String::new(), 405, ""),
        (format!("DELETE {pods}/p/exec"), String::new(), 405, ""),
        (format!("POST {pods}/p/exec"), String::new(), 400, "pod p does not have a host assigned"),
        (format!("POST {pods}/q/exec"), String::new(), 404, "pods \"q\" not found"),
        (format!("GET {pods}/p/portforward?ports=x"), String::new(), 400, "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax"),
        (format!("GET {pods}/p/log?tailLines=-1"), String::new(), 422, "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"),
        (format!("GET {pods}/p/log?container=x"), String::new(), 400, "container x is not valid for pod p"),
        (format!("GET {pods}/p/proxy"), String::new(), 400, "address not allowed"),
        (format!("POST {pods}/p/binding"), target("p", json!({})), 500, "target.name: Required value"),
        (format!("POST {pods}/p/binding"), target("p", json!({"kind": "Foo", "name": "n"})), 500, "target.kind: Unsupported value: \"Foo\": supported values: \"Node\", \"<empty>\""),
        (format!("POST {pods}/p/binding"), target("p", json!({"name": "n"})), 201, ""),
        (format!("POST {pods}/p/binding"), target("p", json!({"name": "m"})), 409, "on pods/binding \"p\": pod p is already assigned to node \"n\""),
        (format!("GET {pods}/p/log"), String::new(), 404, "pods \"n\" not found"),
        (format!("POST {pods}/p/eviction"), json!({"metadata": {"name": "q"}}).to_string(), 400, "name in URL does not match name in Eviction object"),
    ];
    for (line, body, code, text) in cases {
        let answer = send(&client, &line, &[JSON], body).await;
        assert_eq!(answer.code, code, "{line}: {}", answer.text);
        assert!(answer.text.replace("\\\"", "\"").contains(text), "{line}: {}", answer.text);
    }
    world.end().await;
}

/// What kube-apiserver 1.36.3 answered to the same requests.
#[tokio::test]
async fn versions_and_uids_of_writes_are_judged_as_upstream_judges_them() {
    let (world, client) = with_maps(1).await;
    let map = "/api/v1/namespaces/a/configmaps/m00";
    let budgets = "/apis/policy/v1/namespaces/a/poddisruptionbudgets";
    let with =
        |field: &str, value: &str| json!({"metadata": {"name": "m00", field: value}}).to_string();
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1}}).to_string();
    assert_eq!(send(&client, &format!("POST {budgets}"), &[JSON], budget.clone()).await.code, 201);
    let class = json!({"metadata": {"name": "r"}, "handler": "h"}).to_string();
    #[rustfmt::skip]
    let cases = [
        (format!("PUT {map}"), JSON, with("uid", "zzz"), 409, "Precondition failed: UID in precondition: zzz"),
        (format!("PATCH {map}"), MERGE, with("uid", "zzz"), 422, "metadata.uid: Invalid value: \"zzz\": field is immutable"),
        (format!("PUT {map}"), JSON, with("resourceVersion", "abc"), 500, "strconv.ParseUint: parsing \"abc\": invalid syntax"),
        (format!("PUT {map}"), JSON, with("resourceVersion", "1"), 409, "the object has been modified"),
        (format!("PUT {budgets}/b"), JSON, budget, 422, "poddisruptionbudgets.policy \"b\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        ("PUT /apis/node.k8s.io/v1/runtimeclasses/r".into(), JSON, class, 201, ""),
    ];
    for (line, media, body, code, text) in cases {
        let answer = send(&client, &line, &[media], body).await;
        assert_eq!(answer.code, code, "{line}: {}", answer.text);
        assert!(answer.text.replace("\\\"", "\"").contains(text), "{line}: {}", answer.text);
    }
    world.end().await;
}

/// What is misspelt, or sent to the wrong place, does no harm.
#[tokio::test]
async fn nothing_is_done_that_was_not_asked_for() {
    let (world, client) = with_maps(1).await;
    let maps = "/api/v1/namespaces/a/configmaps";
    let body = |value: serde_json::Value| value.to_string();
    #[rustfmt::skip]
    let cases = [
        (format!("POST {maps}?dryRun=all"), body(json!({"metadata": {"name": "x"}})), 422, "dryRun: Unsupported value: [\"all\"]: supported values: \"All\""),
        (format!("DELETE {maps}/m00?dryRun=all"), String::new(), 422, "dryRun: Unsupported value: [\"all\"]"),
        (format!("DELETE {maps}/m00"), body(json!({"dryRun": ["all"]})), 422, "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun"),
        (format!("DELETE {maps}/m00"), body(json!({"apiVersion": "v1", "kind": "ConfigMap"})), 400, "no kind \"ConfigMap\" is registered"),
        ("DELETE /api/v1/namespaces".into(), String::new(), 405, "the server does not allow this method"),
    ];
    for (line, body, code, text) in cases {
        let answer = send(&client, &line, &[JSON], body).await;
        assert_eq!(answer.code, code, "{line}: {}", answer.text);
        assert!(answer.text.replace("\\\"", "\"").contains(text), "{line}: {}", answer.text);
    }
    assert_eq!(send(&client, &format!("GET {maps}/m00"), &[], "").await.code, 200);
    assert_eq!(send(&client, &format!("GET {maps}/x"), &[], "").await.code, 404);
    world.end().await;
}

/// What is only tried shows what would have been stored, and has no version.
#[tokio::test]
async fn a_trial_shows_what_would_be_stored() {
    let (world, client) = with_maps(0).await;
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalName": ""}});
    let line = "POST /api/v1/namespaces/a/services?dryRun=All";
    let tried = send(&client, line, &[JSON], service.to_string()).await;
    assert_eq!(tried.code, 201, "{}", tried.text);
    assert!(tried.json["spec"]["clusterIP"].as_str().is_some_and(|it| it.starts_with("10.")));
    assert_eq!(tried.json["metadata"].get("resourceVersion"), None);
    // What says nothing is left out, as upstream's types leave it out.
    assert_eq!(tried.json["spec"].get("externalName"), None);
    world.end().await;
}

/// A path that belongs to no API is answered in plain text; one that a group does not have, by a Status.
#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    let (world, client) = with_maps(0).await;
    for path in ["/nothing", "/apis/nothing.io/v1", "/apis/nothing.io/v1/things", "/openapi/v9"] {
        let answer = send(&client, &format!("GET {path}"), &[], "").await;
        assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"), "{path}");
    }
    for path in ["/apis/apps/v9/deployments", "/api/v1/nothing", "/api/v1/namespaces/a/nothing/x"] {
        let answer = send(&client, &format!("GET {path}"), &[], "").await;
        assert_eq!((answer.code, &answer.json["details"]), (404, &json!({})), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn anonymous_learns_of_health_and_nothing_else() {
    let world = World::bootstrapped().await;
    let nobody = world.bearer(None);
    for path in ["/livez", "/readyz", "/healthz", "/version", "/livez/ping", "/readyz?verbose"] {
        assert_eq!(send(&nobody, &format!("GET {path}"), &[], "").await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", "/api/v1/pods", "/metrics", "/", "/openapi/v3"] {
        let answer = send(&nobody, &format!("GET {path}"), &[], "").await;
        assert_eq!((answer.code, &answer.json["reason"]), (401, &json!("Unauthorized")), "{path}");
    }
    let forged = send(&nobody, "GET /api/v1/pods", &[("x-remote-user", "admin")], "").await;
    assert_eq!(forged.code, 401);
    let liar = world.bearer(Some("not.a.token"));
    assert_eq!(send(&liar, "GET /api/v1/pods", &[], "").await.code, 401);
    assert_eq!(send(&liar, "GET /livez", &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn table_and_metadata_only_come_when_asked_for() {
    let (world, client) = with_maps(1).await;
    let path = "GET /api/v1/namespaces/a/configmaps";
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let answer = send(&client, path, &[table], "").await.json;
    assert_eq!(answer["kind"], "Table");
    assert_eq!(answer["rows"][0]["cells"][0], "m00");
    assert_eq!(answer["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let meta = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let answer = send(&client, path, &[meta], "").await.json;
    assert_eq!(answer["kind"], "PartialObjectMetadataList");
    assert_eq!(answer["items"][0]["metadata"]["name"], "m00");
    let proto = ("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(send(&client, path, &[proto], "").await.code, 406);
    let sent = ("content-type", "application/vnd.kubernetes.protobuf");
    let post = "POST /api/v1/namespaces/a/configmaps";
    assert_eq!(send(&client, post, &[sent], "k8s").await.code, 400);
    assert_eq!(send(&client, post, &[("content-type", "text/plain")], "x").await.code, 415);
    let review = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked =
        json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}).to_string();
    let only_table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(send(&client, review, &[JSON, only_table], asked).await.code, 406);
    let yaml = ("content-type", "application/yaml");
    let answer = send(&client, post, &[yaml], "metadata:\n  name: y\ndata:\n  a: b\n").await;
    assert_eq!((answer.code, &answer.json["data"]["a"]), (201, &json!("b")), "{}", answer.text);
    world.end().await;
}

#[tokio::test]
async fn statuses_of_components_are_told_as_they_are_now() {
    let world = World::start().await;
    let client = world.admin();
    let all = send(&client, "GET /api/v1/componentstatuses", &[], "").await;
    let well = |name: &str| json!({"metadata": {"name": name}, "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}]});
    let items = ["scheduler", "controller-manager", "etcd-0"].map(well);
    let whole =
        json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items});
    assert_eq!((all.code, all.json), (200, whole));
    let one = send(&client, "GET /api/v1/componentstatuses/etcd-0", &[], "").await.json;
    assert_eq!(
        (&one["kind"], &one["conditions"]),
        (&json!("ComponentStatus"), &items[2]["conditions"])
    );
    let by_name = "GET /api/v1/componentstatuses?fieldSelector=metadata.name=scheduler";
    assert_eq!(send(&client, by_name, &[], "").await.json["items"], json!([items[0]]));
    let none = send(&client, "GET /api/v1/componentstatuses/nope", &[], "").await;
    assert_eq!(none.json["message"], "componentstatus \"nope\" not found");
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let rows = send(&client, "GET /api/v1/componentstatuses", &[table], "").await.json;
    assert_eq!(rows["rows"][2]["cells"], json!(["etcd-0", "Healthy", "ok", ""]));
    #[rustfmt::skip]
    let refused = [
        ("GET /api/v1/componentstatuses?watch=1", "watch is not supported on resources of kind \"componentstatuses\""),
        ("DELETE /api/v1/componentstatuses",      "the server does not allow this method on the requested resource"),
    ];
    for (line, message) in refused {
        let answer = send(&client, line, &[], "").await;
        assert_eq!((answer.code, &answer.json["message"]), (405, &json!(message)), "{line}");
    }
    let resources = send(&client, "GET /api/v1", &[], "").await.json;
    let described = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "componentstatuses");
    let expected = json!({"name": "componentstatuses", "singularName": "componentstatus", "namespaced": false,
        "kind": "ComponentStatus", "verbs": ["get", "list"], "shortNames": ["cs"]});
    assert_eq!(described, Some(&expected));
    let paths = send(&client, "GET /openapi/v3/api/v1", &[], "").await.json["paths"].clone();
    let path = &paths["/api/v1/componentstatuses"];
    assert!(path.get("get").is_some() && path.get("post").is_none(), "{path}");
    world.end().await;
}
