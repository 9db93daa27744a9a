//! A namespace with room for a few pods, and more of them than that asked for on all masters at the same moment.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rand::Rng;
use serde_json::{Value, json};

use super::super::client::Seat;
use super::super::node::from;

/// Where the quota holds.
pub(crate) const NAMESPACE: &str = "tight";
/// How many pods it allows.
pub(crate) const MAX: usize = 3;

/// A master that does not answer is left alone for so long.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(mut seat: Seat) {
    let client = seat.client.clone();
    make(&seat, &Api::<Namespace>::all(client.clone()), json!({"metadata": {"name": NAMESPACE}}))
        .await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": MAX.to_string()}}});
    make(&seat, &Api::<ResourceQuota>::namespaced(client.clone(), NAMESPACE), quota).await;
    let mut number = 0;
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(100..900));
        if !seat.pause(pause).await {
            return;
        }
        let asked = seat.each.iter().map(|(_, client)| {
            number += 1;
            let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
            let pod: Pod = from(pod(&format!("pod-{number}")));
            async move {
                tokio::time::timeout(PATIENCE, pods.create(&PostParams::default(), &pod)).await
            }
        });
        for answer in join_all(asked).await {
            let what = match answer {
                Ok(Ok(_)) => "pods within quota",
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => "pods beyond quota",
                _ => continue,
            };
            seat.world.lock().count(what);
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let Ok(known) = pods.list(&Default::default()).await else { continue };
        for pod in known.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            if seat.rng.random_bool(0.5) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                // If it is not done now, it is by the next round.
                let _ = pods.delete(name, &DeleteParams::default()).await;
            }
        }
    }
}

async fn make<K>(seat: &Seat, api: &Api<K>, object: Value)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::Serialize + serde::de::DeserializeOwned,
{
    let object: K = from(object);
    let name = object.meta().name.clone().unwrap_or_default();
    let ask = || async {
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            outcome => outcome.map(drop),
        }
    };
    seat.insist(&format!("create {name}"), ask).await;
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "app", "image": "app:v1"}]}})
}
