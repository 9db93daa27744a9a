//! What goes with what.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PostParams};
use serde_json::json;

use crate::world::{World, deployment, until};

async fn left(world: &World) -> (bool, usize, usize) {
    let deployment = world.api::<Deployment>().get_opt("web").await.unwrap().is_some();
    let sets = world.api::<ReplicaSet>().list(&Default::default()).await.unwrap().items.len();
    (deployment, sets, world.pods("web:1").await.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_takes_its_sets_and_pods_along_unless_they_are_orphaned() {
    let world = World::start().await;
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        world.create::<Deployment>(deployment(2, "web:1")).await;
        until((true, 1, 2), || left(&world)).await;
        world.api::<Deployment>().delete("web", &params).await.unwrap();
        until((false, 0, 0), || left(&world)).await;
    }
    world.create::<Deployment>(deployment(2, "web:1")).await;
    until((true, 1, 2), || left(&world)).await;
    world.api::<Deployment>().delete("web", &DeleteParams::orphan()).await.unwrap();
    until((false, 1, 2), || left(&world)).await;
    let sets = async || {
        let sets = world.api::<ReplicaSet>().list(&Default::default()).await.unwrap().items;
        sets[0].metadata.owner_references.clone().unwrap_or_default().len()
    };
    until(0, sets).await;
    // A deployment that matches adopts what is there.
    world.create::<Deployment>(deployment(2, "web:1")).await;
    until(1, sets).await;
    until((true, 1, 2), || left(&world)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_is_furnished_and_emptied() {
    let world = World::start().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), "team");
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "team");
    let furnished = async || {
        let account = accounts.get_opt("default").await.unwrap().is_some();
        (account, maps.get_opt("kube-root-ca.crt").await.unwrap().is_some())
    };
    until((true, true), furnished).await;
    let mut object = deployment(2, "web:1");
    object["metadata"]["namespace"] = json!("team");
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), "team");
    let object: Deployment = serde_json::from_value(object).unwrap();
    deployments.create(&PostParams::default(), &object).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "team");
    let count = async || pods.list(&Default::default()).await.unwrap().items.len();
    until(2, count).await;
    namespaces.delete("team", &Default::default()).await.unwrap();
    until(true, async || namespaces.get_opt("team").await.unwrap().is_none()).await;
    assert_eq!(count().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_namespace_go_before_all_else() {
    let world = World::start().await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "team");
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "team");
    let furnished = async || maps.get_opt("kube-root-ca.crt").await.unwrap().is_some();
    until(true, furnished).await;
    let pod = json!({"metadata": {"name": "held", "finalizers": ["acme.io/hold"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    namespaces.delete("team", &Default::default()).await.unwrap();
    let waits = async || {
        let team = namespaces.get("team").await.unwrap();
        let conditions = team.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "NamespaceFinalizersRemaining" && c.status == "True")
    };
    until(true, waits).await;
    assert!(pods.get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    assert!(furnished().await);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("held", &Default::default(), &free).await.unwrap();
    until(true, async || namespaces.get_opt("team").await.unwrap().is_none()).await;
    assert!(!furnished().await);
    world.end().await;
}
