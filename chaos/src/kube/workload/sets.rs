//! A StatefulSet whose pods keep their names, so that one must be gone before its successor comes; it is rolled now
//! and then.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::json;

use super::super::Wanted;
use super::super::client::Seat;
use super::super::node::from;
use crate::world::now_us;

const NAME: &str = "db";
const REPLICAS: u32 = 3;

pub(super) async fn run(mut seat: Seat) {
    let sets: Api<StatefulSet> = Api::namespaced(seat.client.clone(), "default");
    let tolerates = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let mut wanted = Wanted { replicas: REPLICAS, image: "db:v1".into() };
    let object: StatefulSet = from(json!({
        "metadata": {"name": NAME},
        "spec": {
            "serviceName": NAME,
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "db", "image": wanted.image}],
                "tolerations": [tolerates("node.kubernetes.io/not-ready"),
                    tolerates("node.kubernetes.io/unreachable")],
            }},
        },
    }));
    let want = |seat: &Seat, wanted: &Wanted| {
        let key = format!("default/{NAME}");
        seat.world.lock().kube.wanted_sets.insert(key, wanted.clone());
    };
    want(&seat, &wanted);
    let ask = || async {
        match sets.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            outcome => outcome.map(drop),
        }
    };
    seat.insist("create db", ask).await;
    for version in 2.. {
        let pause = Duration::from_millis(seat.rng.random_range(4_000..12_000));
        if !seat.pause(pause).await {
            return;
        }
        wanted.image = format!("db:v{version}");
        want(&seat, &wanted);
        let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [
            {"name": "db", "image": wanted.image}]}}}}));
        let ask = || async {
            let called_us = now_us();
            let changed = sets.patch(NAME, &PatchParams::default(), &patch).await?;
            seat.saw(called_us, changed.metadata.resource_version.as_ref(), false);
            Ok(())
        };
        seat.insist("roll db", ask).await;
        seat.world.lock().count("roll");
    }
}
