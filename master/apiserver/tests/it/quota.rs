//! Quotas hold, whoever writes through whichever master.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::attacks::{JSON, MERGE, made, post};
use crate::world::{World, send};

async fn namespace(client: &kube::Client, hard: Value) {
    made(client, "/api/v1/namespaces", json!({"metadata": {"name": "q"}})).await;
    made(client, "/api/v1/namespaces/q/serviceaccounts", json!({"metadata": {"name": "default"}}))
        .await;
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": hard}});
    made(client, "/api/v1/namespaces/q/resourcequotas", quota).await;
}

async fn used(client: &kube::Client) -> Value {
    let quota = send(client, "GET /api/v1/namespaces/q/resourcequotas/quota", &[], "").await;
    quota.json["status"]["used"].clone()
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_creations_on_three_masters_fill_a_quota_of_ten_exactly() {
    let mut world = World::bootstrapped().await;
    let clients = [world.admin(), world.second().await, world.second().await];
    namespace(&clients[0], json!({"pods": "10", "requests.cpu": "100"})).await;
    let creations = (0..100).map(|index| {
        let client = &clients[index % 3];
        async move { post(client, "/api/v1/namespaces/q/pods", pod(&format!("p{index}"))).await }
    });
    let answers = join_all(creations).await;
    let taken = answers.iter().filter(|answer| answer.code == 201).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.code != 201).collect();
    for answer in &refused {
        assert_eq!(answer.code, 403, "{}", answer.text);
        assert!(answer.text.contains("exceeded quota: quota"), "{}", answer.text);
    }
    assert_eq!((taken, refused.len()), (10, 90));
    for client in &clients {
        let pods = send(client, "GET /api/v1/namespaces/q/pods", &[], "").await.json;
        assert_eq!(pods["items"].as_array().unwrap().len(), 10);
        assert_eq!(used(client).await, json!({"pods": "10", "requests.cpu": "1"}));
    }
    world.end().await;
}

#[tokio::test]
async fn a_quota_made_a_moment_ago_counts_what_is_there() {
    let mut world = World::bootstrapped().await;
    let admin = world.admin();
    let other = world.second().await;
    made(&admin, "/api/v1/namespaces", json!({"metadata": {"name": "q"}})).await;
    let map = |name: &str| json!({"metadata": {"name": name}});
    made(&admin, "/api/v1/namespaces/q/configmaps", map("one")).await;
    let quota = json!({"metadata": {"name": "quota"}, "spec": {"hard": {"configmaps": "2"}}});
    made(&admin, "/api/v1/namespaces/q/resourcequotas", quota).await;
    // The other master may not have heard of the quota yet: the store has.
    made(&other, "/api/v1/namespaces/q/configmaps", map("two")).await;
    let third = post(&other, "/api/v1/namespaces/q/configmaps", map("three")).await;
    assert_eq!(third.code, 403, "{}", third.text);
    assert_eq!(used(&admin).await, json!({"configmaps": "2"}));
    world.end().await;
}

#[tokio::test]
async fn what_grows_is_charged_and_what_is_tried_is_not() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    namespace(&admin, json!({"services": "2", "services.nodeports": "1", "count/configmaps": "1"}))
        .await;
    let services = "/api/v1/namespaces/q/services";
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    made(&admin, services, service("a")).await;
    made(&admin, services, service("b")).await;
    let to_node_port = json!({"spec": {"type": "NodePort"}}).to_string();
    let patch = |name: &str| format!("PATCH {services}/{name}");
    assert_eq!(send(&admin, &patch("a"), &[MERGE], to_node_port.clone()).await.code, 200);
    let second = send(&admin, &patch("b"), &[MERGE], to_node_port).await;
    assert!(second.code == 403 && second.text.contains("services.nodeports=1"), "{}", second.text);
    // What does not grow is not refused, however full the quota is.
    let label = json!({"metadata": {"labels": {"x": "y"}}}).to_string();
    assert_eq!(send(&admin, &patch("b"), &[MERGE], label).await.code, 200);
    let tried = "POST /api/v1/namespaces/q/configmaps?dryRun=All";
    let map = json!({"metadata": {"name": "m"}}).to_string();
    assert_eq!(send(&admin, tried, &[JSON], map).await.code, 201);
    let expected = json!({"services": "2", "services.nodeports": "1"});
    assert_eq!(used(&admin).await, expected);
    world.end().await;
}
