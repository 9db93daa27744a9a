//! Lists and writes on one master after another: no answer may be older than one before it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::json;

use super::super::client::Seat;
use super::super::node::from;
use crate::world::now_us;

/// A master that does not answer is left alone for so long.
const PATIENCE: Duration = Duration::from_millis(700);

pub(super) async fn run(mut seat: Seat) {
    let api = |client: &kube::Client| Api::<ConfigMap>::namespaced(client.clone(), "default");
    let object = json!({"metadata": {"name": "clock"}, "data": {"at": "0"}});
    let first = api(&seat.client);
    let ask = || async {
        match first.create(&PostParams::default(), &from(object.clone())).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            outcome => outcome.map(drop),
        }
    };
    seat.insist("create clock", ask).await;
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(5..60));
        if !seat.pause(pause).await {
            return;
        }
        let at = seat.rng.random_range(0..seat.each.len());
        let on = api(&seat.each[at].1);
        let called_us = now_us();
        if seat.rng.random_bool(0.3) {
            let patch = Patch::Merge(json!({"data": {"at": called_us.to_string()}}));
            let params = PatchParams::default();
            let answer = tokio::time::timeout(PATIENCE, on.patch("clock", &params, &patch)).await;
            if let Ok(Ok(changed)) = answer {
                seat.saw(called_us, changed.metadata.resource_version.as_ref(), false);
            }
        } else {
            let params = ListParams::default();
            if let Ok(Ok(list)) = tokio::time::timeout(PATIENCE, on.list(&params)).await {
                seat.saw(called_us, list.metadata.resource_version.as_ref(), true);
            }
        }
    }
}
