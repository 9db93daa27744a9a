//! Pods that clients bind, on all masters at once and to another node on each; of every second one the scheduler
//! binds it, too. Each must have one node.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rand::Rng;
use serde_json::{Value, json};

use super::super::client::Seat;
use super::super::node::from;
use super::super::{self as kube_sim};
use crate::world::host;

/// Pods that are kept before they are deleted.
const KEPT: u64 = 5;

/// A master that does not answer is left alone for so long.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(mut seat: Seat) {
    let pods: Api<Pod> = Api::namespaced(seat.client.clone(), "default");
    for number in 0.. {
        let pause = Duration::from_millis(seat.rng.random_range(50..400));
        if !seat.pause(pause).await {
            return;
        }
        let name = |number: u64| format!("raced-{}-{number}", seat.number);
        let scheduler = if number % 2 == 0 { "nobody" } else { "default-scheduler" };
        let object: Pod = from(json!({"metadata": {"name": name(number)}, "spec": {
            "schedulerName": scheduler,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": "app:v1"}]}}));
        let this = name(number);
        let ask = || async {
            match pods.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                outcome => outcome.map(drop),
            }
        };
        seat.insist(&format!("create {this}"), ask).await;
        let earlier = number.checked_sub(KEPT).map(name);
        bind(&mut seat, &this).await;
        if let Some(earlier) = earlier {
            // If it is not done now, the pod stays.
            let _ = pods.delete(&earlier, &DeleteParams::default()).await;
        }
    }
}

/// Binds on every master, to a node after the other; if none says what became of that, on any until one does, for
/// nobody else may bind the pod.
async fn bind(seat: &mut Seat, pod: &str) {
    let nodes = seat.world.lock().kube.nodes;
    let first = seat.rng.random_range(0..nodes);
    let ask = |client: &kube::Client, node: u64| {
        let node = host(kube_sim::node(node % nodes + 1));
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        async move {
            let params = PostParams::default();
            pods.create_subresource::<_, Value>("binding", pod, &params, &binding).await
        }
    };
    let asked = seat
        .each
        .iter()
        .map(|(master, client)| tokio::time::timeout(PATIENCE, ask(client, first + master)));
    let mut is_decided = false;
    for answer in join_all(asked).await {
        let what = match answer {
            Ok(Ok(_)) => "bindings won by a client",
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => "bindings lost by a client",
            _ => continue,
        };
        is_decided = true;
        seat.world.lock().count(what);
    }
    if !is_decided {
        let again = || async {
            match ask(&seat.client, first).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                outcome => outcome.map(drop),
            }
        };
        seat.insist(&format!("bind {pod}"), again).await;
    }
}
