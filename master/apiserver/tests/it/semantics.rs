//! What clients that were made for kube-apiserver rely on: what a request does, beyond its answer.

use serde_json::{Value, json};

use crate::world::{World, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn post(client: &kube::Client, path: &str, body: Value) -> Value {
    let answer = send(client, &format!("POST {path}"), &[JSON], body.to_string()).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.text);
    answer.json
}

async fn world() -> (World, kube::Client) {
    let world = World::bootstrapped().await;
    let client = world.impatient();
    let account = json!({"metadata": {"name": "default"}});
    post(&client, "/api/v1/namespaces/default/serviceaccounts", account).await;
    (world, client)
}

async fn maps(client: &kube::Client, names: &[&str]) {
    for name in names {
        post(client, MAPS, json!({"metadata": {"name": name, "labels": {"of": "test"}}})).await;
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_collection_is_deleted_a_page_at_a_time_if_one_is_asked_for() {
    let (world, client) = world().await;
    maps(&client, &["a", "b", "c", "d"]).await;
    let line = format!("DELETE {MAPS}?labelSelector=of%3Dtest&limit=3");
    let gone = send(&client, &line, &[], "").await;
    assert_eq!((gone.code, names(&gone.json)), (200, vec!["a", "b", "c"]), "{}", gone.text);
    assert!(gone.json["metadata"]["continue"].is_string(), "{}", gone.text);
    let left = send(&client, &format!("GET {MAPS}?labelSelector=of%3Dtest"), &[], "").await;
    assert_eq!(names(&left.json), ["d"]);
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let gone = send(&client, &format!("DELETE {MAPS}?labelSelector=of%3Dtest"), &[table], "").await;
    assert_eq!(gone.json["rows"][0]["cells"][0], "d", "{}", gone.text);
    maps(&client, &["a", "b"]).await;
    let wrong = format!("DELETE {MAPS}?labelSelector=of%3Dtest&includeObject=x");
    assert_eq!(send(&client, &wrong, &[table], "").await.code, 400);
    let wrong = format!("DELETE {MAPS}/a?includeObject=x");
    assert_eq!(send(&client, &wrong, &[table], "").await.code, 400);
    // A later page is as of when the first one was read; who has a name of it by now is another.
    let line = format!("DELETE {MAPS}?labelSelector=of%3Dtest&limit=1");
    let first = send(&client, &line, &[], "").await.json;
    assert_eq!(names(&first), ["a"]);
    assert_eq!(send(&client, &format!("DELETE {MAPS}/b"), &[], "").await.code, 200);
    maps(&client, &["b"]).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = send(&client, &format!("{line}&continue={token}"), &[], "").await;
    assert_eq!((rest.code, names(&rest.json)), (200, vec!["b"]), "{}", rest.text);
    assert_eq!(send(&client, &format!("GET {MAPS}/b"), &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn options_of_a_deletion_are_its_bodys_or_else_its_querys() {
    let (world, client) = world().await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    post(&client, PODS, pod).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n"}});
    post(&client, &format!("{PODS}/p/binding"), binding).await;
    let line = format!("DELETE {PODS}/p?gracePeriodSeconds=0");
    let begun = send(&client, &line, &[JSON], "{}").await;
    assert_eq!(begun.json["metadata"]["deletionGracePeriodSeconds"], 30, "{}", begun.text);
    let gone = send(&client, &line, &[], "").await;
    assert_eq!(gone.code, 200, "{}", gone.text);
    assert_eq!(send(&client, &format!("GET {PODS}/p"), &[], "").await.code, 404);

    let held = json!({"metadata": {"name": "held", "finalizers": ["a/b"]}});
    post(&client, MAPS, held).await;
    let line = format!("DELETE {MAPS}/held?orphanDependents=false");
    assert_eq!(send(&client, &line, &[], "").await.code, 202);
    assert_eq!(send(&client, &format!("DELETE {MAPS}/held"), &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn a_namespace_that_goes_says_so_to_whoever_adds_to_it() {
    let (world, client) = world().await;
    let namespaces = "/api/v1/namespaces";
    post(&client, namespaces, json!({"metadata": {"name": "n", "finalizers": ["a/b"]}})).await;
    let accounts = format!("{namespaces}/n/serviceaccounts");
    post(&client, &accounts, json!({"metadata": {"name": "robot"}})).await;
    send(&client, &format!("DELETE {namespaces}/n"), &[], "").await;
    for path in [accounts.clone(), format!("{accounts}/robot/token")] {
        let body = json!({"metadata": {"name": "robot"}}).to_string();
        let refused = send(&client, &format!("POST {path}"), &[JSON], body).await;
        let cause = &refused.json["details"]["causes"][0];
        assert_eq!(
            (refused.code, &cause["reason"]),
            (403, &json!("NamespaceTerminating")),
            "{path}: {}",
            refused.text
        );
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_created_in_passing_has_no_version_to_meet() {
    let (world, client) = world().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = |field: &str, value: &str| {
        json!({"metadata": {"name": "l", field: value}, "spec": {}}).to_string()
    };
    let line = format!("PUT {leases}/l");
    let other = send(&client, &line, &[JSON], lease("uid", "x")).await;
    assert_eq!(other.code, 409, "{}", other.text);
    let made = send(&client, &line, &[JSON], lease("resourceVersion", "5")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let apply = ("content-type", "application/apply-patch+yaml");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "resourceVersion": "5"}});
    let line = format!("PATCH {MAPS}/m?fieldManager=f");
    let made = send(&client, &line, &[apply], map.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    world.end().await;
}

#[tokio::test]
async fn an_eviction_is_tried_against_its_budget() {
    let (world, client) = world().await;
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    post(&client, PODS, pod).await;
    let status = |ready: &str| json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    let set = async |path: String, status: Value| {
        let line = format!("PATCH {path}/status");
        assert_eq!(send(&client, &line, &[MERGE], status.to_string()).await.code, 200, "{path}");
    };
    set(format!("{PODS}/p"), status("True")).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    post(&client, budgets, budget).await;
    let evict = async |query: &str, version: &str| {
        let body = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}});
        let line = format!("POST {PODS}/p/eviction{query}");
        send(&client, &line, &[JSON], body.to_string()).await
    };
    // Of any kind that is made below an object.
    for (sub, sent) in [("eviction", json!({})), ("binding", json!({"target": {"name": "n"}}))] {
        let mut elsewhere = json!({"metadata": {"name": "p", "namespace": "other"}});
        elsewhere.as_object_mut().unwrap().extend(sent.as_object().unwrap().clone());
        let line = format!("POST {PODS}/p/{sub}");
        let refused = send(&client, &line, &[JSON], elsewhere.to_string()).await;
        let message =
            "the namespace of the provided object does not match the namespace sent on the request";
        assert_eq!((refused.code, &refused.json["message"]), (400, &json!(message)), "{sub}");
    }
    // Nobody has counted yet.
    let refused = evict("?dryRun=All", "policy/v1").await;
    assert_eq!(refused.code, 429, "{}", refused.text);
    assert_eq!(refused.json["details"]["retryAfterSeconds"], 10, "{}", refused.text);
    let counted = |allowed: i64| {
        json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 1 + allowed,
            "desiredHealthy": 1, "expectedPods": 2, "observedGeneration": 1}})
    };
    set(format!("{budgets}/b"), counted(0)).await;
    assert_eq!(evict("?dryRun=All", "policy/v1").await.code, 429);
    set(format!("{budgets}/b"), counted(1)).await;
    assert_eq!(evict("?dryRun=All", "policy/v1beta1").await.code, 201);
    let left = send(&client, &format!("GET {budgets}/b"), &[], "").await.json;
    assert_eq!(left["status"]["disruptionsAllowed"], 1, "a trial costs nothing");
    // It is not ready, and enough others are.
    set(format!("{budgets}/b"), counted(0)).await;
    set(format!("{PODS}/p"), status("False")).await;
    // The pod counts as it was looked at, whichever the client saw.
    let body = json!({"metadata": {"name": "p"}, "deleteOptions": {"preconditions": {"resourceVersion": "1"}}});
    let gone = send(&client, &format!("POST {PODS}/p/eviction"), &[JSON], body.to_string()).await;
    assert_eq!(gone.code, 201, "{}", gone.text);
    assert_eq!(send(&client, &format!("GET {PODS}/p"), &[], "").await.code, 404);
    world.end().await;
}

#[tokio::test]
async fn a_watch_without_a_version_says_when_that_was_all() {
    let (world, client) = world().await;
    maps(&client, &["a"]).await;
    let watch = async |query: &str| {
        let line = format!("GET {MAPS}?watch=1&timeoutSeconds=1&labelSelector=of%3Dtest{query}");
        let answer = send(&client, &line, &[], "").await;
        let events = answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let marked = |event: &Value| {
            event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
        };
        events.map(|event| (event["type"].clone(), marked(&event))).collect::<Vec<_>>()
    };
    let end = (json!("BOOKMARK"), true);
    assert_eq!(watch("&allowWatchBookmarks=true").await.get(1), Some(&end));
    assert_eq!(watch("&allowWatchBookmarks=true&resourceVersion=0").await.get(1), Some(&end));
    assert_eq!(watch("").await, [(json!("ADDED"), false)]);
    world.end().await;
}

#[tokio::test]
async fn a_list_of_whatever_is_there_comes_whole() {
    let (world, client) = world().await;
    maps(&client, &["a", "b", "c"]).await;
    let line = format!("GET {MAPS}?labelSelector=of%3Dtest&limit=2&resourceVersion=0");
    let list = send(&client, &line, &[], "").await.json;
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert_eq!(list["metadata"]["continue"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn a_role_that_is_not_there_is_not_found_by_whoever_binds_it() {
    let (world, admin) = world().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let binding = |name: &str, role: Value| json!({"metadata": {"name": name}, "roleRef": role, "subjects": [{"kind": "User", "name": "jane"}]});
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    post(&admin, rbac, binding("own", role("ClusterRole", "admin"))).await;
    let jane = world.user("jane", "devs");
    let bind = async |name: &str, role: Value| {
        let body = binding(name, role).to_string();
        send(&jane, &format!("POST {rbac}"), &[JSON], body).await
    };
    let missing = bind("a", role("Role", "nowhere")).await;
    assert_eq!(
        (missing.code, missing.json["message"].as_str()),
        (404, Some("role.rbac.authorization.k8s.io \"nowhere\" not found"))
    );
    assert_eq!(bind("b", role("ClusterRole", "cluster-admin")).await.code, 403);
    world.end().await;
}

#[tokio::test]
async fn what_a_change_leaves_alone_and_what_counts_as_one() {
    let (world, client) = world().await;
    let patch = async |path: &str, patch: Value| {
        let answer = send(&client, &format!("PATCH {path}"), &[MERGE], patch.to_string()).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.text);
        answer.json
    };
    let service = "/api/v1/namespaces/default/services";
    let balanced = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
    post(&client, service, json!({"metadata": {"name": "s"}, "spec": balanced})).await;
    let condition = json!({"type": "A", "status": "True", "reason": "r", "message": "m",
        "lastTransitionTime": "2026-11-28T00:00:00Z"});
    let status = json!({"status": {"conditions": [condition],
        "loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    patch(&format!("{service}/s/status"), status).await;
    let plain = patch(&format!("{service}/s"), json!({"spec": {"type": "ClusterIP"}})).await;
    assert_eq!(plain["status"], json!({"loadBalancer": {}, "conditions": [condition]}));

    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": []});
    post(&client, slices, slice).await;
    let slice = format!("{slices}/e");
    let noted = patch(&slice, json!({"metadata": {"annotations": {"a": "b"}}})).await;
    assert_eq!(noted["metadata"]["generation"], 1);
    let labelled = patch(&slice, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 2);

    // What is no version is passed over.
    post(&client, MAPS, json!({"metadata": {"name": "m", "resourceVersion": "0"}})).await;
    let map = json!({"metadata": {"name": "n", "resourceVersion": "5"}}).to_string();
    assert_eq!(send(&client, &format!("POST {MAPS}"), &[JSON], map).await.code, 500);
    world.end().await;
}
