//! Paths below objects: tokens that work, scales, evictions, discovery of it all.

use serde_json::{Value, json};

use crate::world::{Answer, World, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// Sends a body that must be taken.
async fn post(client: &kube::Client, path: &str, body: Value) -> Answer {
    let answer = send(client, &format!("POST {path}"), &[JSON], body.to_string()).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.text);
    answer
}

#[tokio::test]
async fn token_of_a_service_account_is_an_identity_until_the_account_is_gone() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    post(&admin, accounts, json!({"metadata": {"name": "robot"}})).await;
    let asked = json!({"spec": {"expirationSeconds": 3600}});
    let answer = post(&admin, &format!("{accounts}/robot/token"), asked).await;
    let token = answer.json["status"]["token"].as_str().unwrap().to_owned();
    let robot = world.bearer(Some(&token));

    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = post(&robot, who, json!({})).await.json;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
    let pods = "GET /api/v1/namespaces/default/pods";
    let refused = send(&robot, pods, &[], "").await;
    assert_eq!(refused.code, 403, "{}", refused.text);

    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]});
    post(&admin, &format!("{rbac}/rolebindings"), binding).await;
    assert_eq!(send(&robot, pods, &[], "").await.code, 200);
    let review = json!({"spec": {"token": token}});
    let seen = post(&admin, "/apis/authentication.k8s.io/v1/tokenreviews", review).await.json;
    assert_eq!(seen["status"]["authenticated"], true);

    let gone = send(&admin, &format!("DELETE {accounts}/robot"), &[], "").await;
    assert_eq!(gone.code, 200, "{}", gone.text);
    // Everything acknowledged is seen by the next read, and so by the next judgement.
    assert_eq!(send(&admin, &format!("GET {accounts}/robot"), &[], "").await.code, 404);
    assert_eq!(send(&robot, pods, &[], "").await.code, 401);
    world.end().await;
}

#[tokio::test]
async fn reviews_are_answered_in_upstreams_shape_and_words() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let token = async |name: &str| {
        post(&admin, accounts, json!({"metadata": {"name": name}})).await;
        let answer = post(&admin, &format!("{accounts}/{name}/token"), json!({"spec": {}})).await;
        answer.json["status"]["token"].as_str().unwrap().to_owned()
    };
    let (good, orphan) = (token("robot").await, token("gone").await);
    send(&admin, &format!("DELETE {accounts}/gone"), &[], "").await;
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let own = "https://kubernetes.default.svc.cluster.local";
    let elsewhere = format!(
        "[invalid bearer token, token audiences [\"{own}\"] is invalid for the target audiences [\"x\" \"y\"]]"
    );
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let cases = [
        (json!({"token": "abc"}), "invalid bearer token"),
        (json!({"token": "a.b.c"}), "invalid bearer token"),
        (json!({"token": "abcdef.0123456789abcdef"}), "invalid bearer token"),
        (json!({"token": good, "audiences": ["x", "y"]}), &elsewhere),
        (
            json!({"token": forged}),
            "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]",
        ),
        (json!({"token": orphan}), "[invalid bearer token, serviceaccounts \"gone\" not found]"),
    ];
    for (spec, error) in cases {
        let answer = post(&admin, reviews, json!({ "spec": spec })).await.json;
        assert_eq!(answer["status"], json!({"user": {}, "error": error}), "{spec}");
    }
    let answer = post(&admin, reviews, json!({"spec": {"token": good}})).await.json;
    let owned = &answer["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(*owned, json!({"f:spec": {"f:token": {}}}));

    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let asked = json!({"metadata": {"name": "x"}, "spec": {"namespace": "default"}});
    let mut answer = post(&admin, rules, asked).await.json;
    assert!(answer["status"].take()["nonResourceRules"].is_array());
    assert_eq!(
        answer,
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "metadata": {}, "spec": {}, "status": null})
    );
    let json_body = [("content-type", "application/json")];
    let refused = send(&admin, &format!("POST {rules}"), &json_body, r#"{"spec": {}}"#).await;
    assert_eq!((refused.code, &refused.json["message"]), (400, &json!("no namespace on request")));
    world.end().await;
}

#[tokio::test]
async fn scale_changes_replicas_and_nothing_else() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let labels = json!({"app": "web"});
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    post(&admin, path, deployment).await;
    let scale = send(&admin, &format!("GET {path}/web/scale"), &[], "").await.json;
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(2), &json!("app=web"))
    );
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    let patched = send(&admin, &format!("PATCH {path}/web/scale"), &[MERGE], patch).await;
    assert_eq!(
        (patched.code, &patched.json["spec"]["replicas"]),
        (200, &json!(5)),
        "{}",
        patched.text
    );
    let web = send(&admin, &format!("GET {path}/web"), &[], "").await.json;
    assert_eq!((&web["spec"]["replicas"], &web["metadata"]["generation"]), (&json!(5), &json!(2)));
    let stale = send(&admin, &format!("PUT {path}/web/scale"), &[JSON], scale.to_string()).await;
    assert_eq!(stale.code, 409, "{}", stale.text);
    #[rustfmt::skip]
    let elsewhere = [
        (json!({}), "the name of the object (web based on URL) was undeterminable: name must be provided"),
        (json!({"name": "x"}), "the name of the object (x) does not match the name on the URL (web)"),
        (json!({"name": "web", "namespace": "x"}),
         "the namespace of the provided object does not match the namespace sent on the request"),
    ];
    for (metadata, message) in elsewhere {
        let sent = json!({"metadata": metadata, "spec": {"replicas": 3}}).to_string();
        let refused = send(&admin, &format!("PUT {path}/web/scale"), &[JSON], sent).await;
        assert_eq!((refused.code, &refused.json["message"]), (400, &json!(message)));
    }
    let below = json!({"spec": {"replicas": -1}}).to_string();
    let refused = send(&admin, &format!("PATCH {path}/web/scale"), &[MERGE], below).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    world.end().await;
}

#[tokio::test]
async fn labels_and_annotations_may_come_with_a_status_or_an_approval_where_upstream_lets_them() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let patch = async |path: &str, body: Value| {
        let answer = send(&admin, &format!("PATCH {path}"), &[MERGE], body.to_string()).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.text);
        answer.json
    };
    let sent = json!({"metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}}, "spec": {"x": 1}, "status": {}});
    let cases = [
        ("/api/v1/namespaces/default", true),
        ("/api/v1/namespaces/default/services/kubernetes", true),
        ("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", false),
        ("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt", false),
    ];
    for (path, carries) in cases {
        let got = patch(&format!("{path}/status"), sent.clone()).await;
        assert_eq!(got["metadata"]["labels"]["l"] == "1", carries, "{got}");
        assert_eq!(got["metadata"]["annotations"]["a"] == "1", carries, "{got}");
        let owners = got["metadata"]["managedFields"].as_array().unwrap();
        let owns =
            |owner: &Value| !owner["fieldsV1"]["f:metadata"]["f:annotations"]["f:a"].is_null();
        assert_eq!(
            owners.iter().any(|o| o["subresource"] == "status" && owns(o)),
            carries,
            "{got}"
        );
    }
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({"metadata": {"name": "r"}, "spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K", "signerName": "acme.io/s",
        "usages": ["client auth"]}});
    post(&admin, requests, request).await;
    let verdict = json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"signerName": "acme.io/t"},
        "status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
    let got = patch(&format!("{requests}/r/approval"), verdict).await;
    assert_eq!(got["metadata"]["annotations"]["a"], "1");
    assert_eq!(got["spec"]["signerName"], "acme.io/s");
    assert_eq!(got["status"]["conditions"][0]["type"], "Approved");
    world.end().await;
}

#[tokio::test]
async fn eviction_obeys_the_disruption_budget() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    post(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({"metadata": {"name": "default"}}),
    )
    .await;
    let pods = "/api/v1/namespaces/default/pods";
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        post(&admin, pods, pod).await;
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let running = json!({"status": {"phase": "Running", "conditions": ready}}).to_string();
        send(&admin, &format!("PATCH {pods}/{name}/status"), &[MERGE], running).await;
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "one"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    post(&admin, budgets, budget).await;
    let status = json!({"status": {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1,
        "expectedPods": 2, "observedGeneration": 1}});
    let set =
        send(&admin, &format!("PATCH {budgets}/one/status"), &[MERGE], status.to_string()).await;
    assert_eq!(set.code, 200, "{}", set.text);
    let evict = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}});
    post(&admin, &format!("{pods}/a/eviction"), evict("a")).await;
    assert_eq!(send(&admin, &format!("GET {pods}/a"), &[], "").await.code, 404);
    let one = send(&admin, &format!("GET {budgets}/one"), &[], "").await.json;
    assert_eq!(one["status"]["disruptionsAllowed"], 0);
    assert!(one["status"]["disruptedPods"]["a"].is_string());
    let line = format!("POST {pods}/b/eviction");
    let impatient = world.impatient();
    assert_eq!(send(&impatient, &line, &[JSON], evict("b").to_string()).await.code, 429);
    assert_eq!(send(&admin, &format!("GET {pods}/b"), &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn both_discoveries_list_the_same_resources() {
    let world = World::start().await;
    let client = world.admin();
    let mut old = Vec::new();
    for group in client.list_api_groups().await.unwrap().groups {
        for version in group.versions {
            let list = client.list_api_group_resources(&version.group_version).await.unwrap();
            let names = list.resources.iter().filter(|resource| !resource.name.contains('/'));
            old.extend(
                names.map(|resource| format!("{}/{}", version.group_version, resource.name)),
            );
        }
    }
    let mut new = Vec::new();
    for group in client.list_api_groups_aggregated().await.unwrap().items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            let prefix = format!("{name}/{}", version.version.unwrap_or_default());
            let names = version.resources.into_iter().filter_map(|resource| resource.resource);
            new.extend(names.map(|resource| format!("{prefix}/{resource}")));
        }
    }
    assert!(old.contains(&"apps/v1/deployments".to_owned()));
    assert_eq!(old, new);
    world.end().await;
}

#[tokio::test]
async fn a_binding_binds_the_pod_that_it_names() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let account = json!({"metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    send(&admin, &format!("POST {accounts}"), &[JSON], account.to_string()).await;
    let containers = json!([{"name": "c", "image": "i"}]);
    post(&admin, pods, json!({"metadata": {"name": "p"}, "spec": {"containers": containers}}))
        .await;
    let binding = |name: &str| json!({"metadata": {"name": name}, "target": {"name": "n"}});
    let line = format!("POST {pods}/p/binding");
    let refused = send(&admin, &line, &[JSON], binding("q").to_string()).await;
    let message = "name in URL does not match name in Binding object";
    assert_eq!((refused.code, refused.json["message"].as_str()), (400, Some(message)));
    let bound = post(&admin, &format!("{pods}/p/binding"), binding("p")).await.json;
    let success = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201});
    assert_eq!(bound, success);

    // The tolerations that each pod has from the start come back when they are taken away, rather than that be refused.
    let tolerations = json!([{"key": "k", "operator": "Exists"}]);
    let patch = json!({"spec": {"tolerations": tolerations}}).to_string();
    let answer = send(&admin, &format!("PATCH {pods}/p"), &[MERGE], patch).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    assert_eq!(answer.json["spec"]["tolerations"].as_array().map(Vec::len), Some(3));
    world.end().await;
}
