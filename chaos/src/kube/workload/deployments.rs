//! Deployments that are created, scaled and rolled, by a client that repeats each wish until it is granted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::{Value, json};

use super::super::Wanted;
use super::super::client::Seat;
use super::super::node::from;
use crate::world::now_us;

const NAMESPACE: &str = "default";
const COUNT: usize = 3;
/// The last of them is scaled and rolled by nobody.
const STEADY: usize = 0;

pub(super) async fn run(mut seat: Seat) {
    for number in 0..COUNT {
        let replicas = if number == STEADY { 3 } else { seat.rng.random_range(1..4) };
        create(&seat, number, replicas).await;
    }
    let mut image = 1;
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(400..2_500));
        if !seat.pause(pause).await {
            return;
        }
        let number = seat.rng.random_range(STEADY + 1..COUNT);
        if seat.rng.random_bool(0.5) {
            let replicas = seat.rng.random_range(1..6);
            let patch = json!({"spec": {"replicas": replicas}});
            change(&seat, number, "scale", patch, |wanted| wanted.replicas = replicas).await;
        } else {
            image += 1;
            let text = format!("app:v{image}");
            let patch = json!({"spec": {"template": {"spec": {"containers": [
                {"name": "app", "image": text}]}}}});
            change(&seat, number, "roll", patch, |wanted| wanted.image.clone_from(&text)).await;
        }
    }
}

fn name(number: usize) -> String {
    if number == STEADY { "steady".into() } else { format!("app-{number}") }
}

async fn create(seat: &Seat, number: usize, replicas: u32) {
    let name = name(number);
    let image = "app:v1".to_owned();
    let object = deployment(&name, replicas, &image);
    let wanted = Wanted { replicas, image };
    seat.world.lock().kube.wanted.insert(format!("{NAMESPACE}/{name}"), wanted);
    let deployments: Api<Deployment> = Api::namespaced(seat.client.clone(), NAMESPACE);
    let ask = || async {
        let called_us = now_us();
        match deployments.create(&PostParams::default(), &from(object.clone())).await {
            // An earlier try was done.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            Err(error) => Err(error),
            Ok(created) => {
                seat.saw(called_us, created.metadata.resource_version.as_ref(), false);
                Ok(())
            }
        }
    };
    seat.insist(&format!("create {name}"), ask).await;
}

async fn change(
    seat: &Seat,
    number: usize,
    what: &'static str,
    patch: Value,
    wish: impl FnOnce(&mut Wanted),
) {
    let name = name(number);
    seat.world.lock().kube.wanted.entry(format!("{NAMESPACE}/{name}")).and_modify(wish);
    let deployments: Api<Deployment> = Api::namespaced(seat.client.clone(), NAMESPACE);
    let patch = Patch::Strategic(patch);
    let ask = || async {
        let called_us = now_us();
        let changed = deployments.patch(&name, &PatchParams::default(), &patch).await?;
        seat.saw(called_us, changed.metadata.resource_version.as_ref(), false);
        Ok(())
    };
    seat.insist(&format!("{what} {name}"), ask).await;
    seat.world.lock().count(what);
}

/// Its pods ask for a sixth of a node, and leave one that is lost soon.
fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    let tolerates = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2});
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "app", "image": image,
                        "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}}}],
                    "tolerations": [tolerates("node.kubernetes.io/not-ready"),
                        tolerates("node.kubernetes.io/unreachable")],
                },
            },
        },
    })
}
