//! Deployments and what they are made of.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, ReplicationController};
use kube::api::Api;
use serde_json::json;

use crate::world::{World, deployment, template, until};

async fn annotation(world: &World, key: &str) -> String {
    let found = world.api::<Deployment>().get("web").await.unwrap();
    found.metadata.annotations.unwrap_or_default().get(key).cloned().unwrap_or_default()
}

/// replicas, updated, ready, available
async fn counts(world: &World) -> [i32; 4] {
    let status = world.api::<Deployment>().get("web").await.unwrap().status.unwrap_or_default();
    [
        status.replicas.unwrap_or(0),
        status.updated_replicas.unwrap_or(0),
        status.ready_replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_rolls_out_scales_updates_and_goes_back() {
    let world = World::start().await;
    world.create::<Deployment>(deployment(3, "web:1")).await;
    until(3, async || world.pods("web:1").await.len()).await;
    until([3, 3, 0, 0], || counts(&world)).await;
    world.make_ready("web:1").await;
    until([3, 3, 3, 3], || counts(&world)).await;
    until("1".to_owned(), || annotation(&world, "deployment.kubernetes.io/revision")).await;

    world.patch::<Deployment>("web", json!({"spec": {"replicas": 5}})).await;
    until(5, async || world.pods("web:1").await.len()).await;
    world.patch::<Deployment>("web", json!({"spec": {"replicas": 2}})).await;
    until(2, async || world.pods("web:1").await.len()).await;
    world.make_ready("web:1").await;
    until([2, 2, 2, 2], || counts(&world)).await;

    world.patch::<Deployment>("web", json!({"spec": {"template": template("web:2")}})).await;
    until((0, 2), async || {
        let (old, new) = (world.pods("web:1").await.len(), world.pods("web:2").await.len());
        assert!(old + new <= 3, "a surge of one at most");
        world.make_ready("web:2").await;
        (old, new)
    })
    .await;
    until([2, 2, 2, 2], async || {
        world.pods("web:1").await;
        world.make_ready("web:2").await;
        counts(&world).await
    })
    .await;
    until("2".to_owned(), || annotation(&world, "deployment.kubernetes.io/revision")).await;
    let progressing = async || {
        let status = world.api::<Deployment>().get("web").await.unwrap().status.unwrap();
        let conditions = status.conditions.unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition.type_ == "Progressing");
        found.and_then(|condition| condition.reason).unwrap_or_default()
    };
    until("NewReplicaSetAvailable".to_owned(), progressing).await;

    // What `kubectl rollout undo` does: the old template again.
    world.patch::<Deployment>("web", json!({"spec": {"template": template("web:1")}})).await;
    until((2, 0), async || {
        world.make_ready("web:1").await;
        (world.pods("web:1").await.len(), world.pods("web:2").await.len())
    })
    .await;
    until("3".to_owned(), || annotation(&world, "deployment.kubernetes.io/revision")).await;
    assert_eq!(world.api::<ReplicaSet>().list(&Default::default()).await.unwrap().items.len(), 2);

    let events: Api<Event> = world.api();
    let has = async |reason: &str| {
        let all = events.list(&Default::default()).await.unwrap().items;
        all.iter().any(|event| event.reason.as_deref() == Some(reason))
    };
    for reason in ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"] {
        until(true, || has(reason)).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_controller_keeps_its_pods() {
    let world = World::start().await;
    let object = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"app": "web"}, "template": template("web:1")}});
    world.create::<ReplicationController>(object).await;
    until(2, async || world.pods("web:1").await.len()).await;
    let pods = world.pods("web:1").await;
    let name = pods[0].metadata.name.clone().unwrap();
    world
        .api::<k8s_openapi::api::core::v1::Pod>()
        .delete(&name, &Default::default())
        .await
        .unwrap();
    until((2, false), async || {
        let pods = world.pods("web:1").await;
        let is_there = pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(&name));
        (pods.len(), is_there)
    })
    .await;
    world.end().await;
}
