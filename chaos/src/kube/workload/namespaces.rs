//! Namespaces that are filled and deleted, while others still create in them on all masters: all that is in one
//! goes, and nothing comes after.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rand::Rng;
use serde_json::json;
use store_env::task::Crew;

use super::super::client::Seat;
use super::super::node::from;

/// How often it is looked whether a namespace is gone.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long a create may be under way: as long as the client's requests may, and a little.
const LATE_MAX: Duration = Duration::from_secs(6);

pub(super) async fn run(mut seat: Seat) {
    let namespaces: Api<Namespace> = Api::all(seat.client.clone());
    let mut late = Crew::new();
    for number in 0.. {
        let pause = Duration::from_millis(seat.rng.random_range(50..600));
        if !seat.pause(pause).await {
            break;
        }
        let name = format!("brief-{}-{number}", seat.number);
        let object: Namespace = from(json!({ "metadata": { "name": name } }));
        let ask = || async { there(namespaces.create(&PostParams::default(), &object).await) };
        seat.insist(&format!("create {name}"), ask).await;
        fill(&mut seat, &name).await;
        come_late(&seat, &name, &mut late);
        let ask = || async {
            match namespaces.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                outcome => outcome.map(drop),
            }
        };
        seat.insist(&format!("delete {name}"), ask).await;
        come_late(&seat, &name, &mut late);
        loop {
            if let Ok(None) = namespaces.get_opt(&name).await {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        seat.note(format_args!("{name} is gone"));
        seat.world.lock().count("namespaces deleted");
    }
    late.finish(LATE_MAX).await;
}

/// Creates something in a namespace on every master at once, and waits for none of them: each may be carried out
/// when the namespace is gone.
fn come_late(seat: &Seat, namespace: &str, late: &mut Crew) {
    for (master, client) in &seat.each {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let name = format!("late-{master}-");
        let object: ConfigMap = from(json!({"metadata": {"generateName": name}}));
        let world = seat.world.clone();
        late.spawn(async move {
            let what = match maps.create(&PostParams::default(), &object).await {
                Ok(_) => "late creates done",
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                    "late creates refused"
                }
                Err(_) => return,
            };
            world.lock().count(what);
        });
    }
}

async fn fill(seat: &mut Seat, namespace: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(seat.client.clone(), namespace);
    for number in 0..seat.rng.random_range(1..4) {
        let object: ConfigMap = from(json!({"metadata": {"name": format!("map-{number}")}}));
        let ask = || async { there(maps.create(&PostParams::default(), &object).await) };
        seat.insist(&format!("create a map in {namespace}"), ask).await;
    }
    let deployments: Api<Deployment> = Api::namespaced(seat.client.clone(), namespace);
    let object: Deployment = from(json!({"metadata": {"name": "app"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "brief"}},
        "template": {"metadata": {"labels": {"app": "brief"}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "app", "image": "app:v1"}]}}}}));
    let ask = || async { there(deployments.create(&PostParams::default(), &object).await) };
    seat.insist(&format!("create a deployment in {namespace}"), ask).await;
    let rest = Duration::from_millis(seat.rng.random_range(0..1_500));
    tokio::time::sleep(rest).await;
}

/// An object that is there already was made by an earlier try.
fn there<T>(outcome: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        outcome => outcome.map(drop),
    }
}
