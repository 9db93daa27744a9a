//! More pods than nodes have room for, of which some go and others come: whoever binds must know of all that were
//! bound. In the end all of them go.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use rand::Rng;
use serde_json::json;

use super::super::client::Seat;
use super::super::node::from;

const NAMESPACE: &str = "default";
/// What its pods are found by.
const LABEL: &str = "crowd=yes";
/// Each asks for less than half of a node.
const CPU: &str = "500m";
/// How many there are: as many as a round makes if none had room.
const COUNT: usize = 10;

pub(super) async fn run(mut seat: Seat) {
    let pods: Api<Pod> = Api::namespaced(seat.client.clone(), NAMESPACE);
    let ours = ListParams::default().labels(LABEL);
    let mut number = 0;
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(50..500));
        if !seat.pause(pause).await {
            break;
        }
        let Ok(there) = pods.list(&ours).await else { continue };
        if there.items.len() >= COUNT {
            // What is bound makes room, and what is not takes it.
            for pod in there.items.iter().filter(|_| seat.rng.random_bool(0.3)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                // If it is not done now, it is by another round.
                let _ = pods.delete(name, &DeleteParams::default()).await;
            }
        }
        for _ in there.items.len()..COUNT {
            number += 1;
            let pod = pod(&format!("crowd-{}-{number}", seat.number));
            // If it is not made now, another is by another round.
            let _ = pods.create(&PostParams::default(), &from(pod)).await;
        }
        seat.world.lock().count("crowds");
    }
    let gone = || async {
        let there = pods.list(&ours).await?;
        for pod in &there.items {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match pods.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    };
    seat.insist("delete the crowd", gone).await;
}

fn pod(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "labels": {"crowd": "yes"}}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "image": "app:v1",
            "resources": {"requests": {"cpu": CPU}}}]}})
}
