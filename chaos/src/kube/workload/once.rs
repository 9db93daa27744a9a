//! Creates whose outcome may be unknown: repeated under one name they make one object; of a generated name none
//! is ever made twice, for nobody repeats it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use rand::Rng;
use serde_json::json;

use super::super::client::{Seat, brief};
use super::super::node::from;
use super::super::story::Create;
use crate::mutant::Mutation;
use crate::world::now_us;

/// The field that carries the mark of a create.
pub(crate) const MARK: &str = "mark";

pub(super) async fn run(mut seat: Seat) {
    let maps: Api<ConfigMap> = Api::namespaced(seat.client.clone(), "default");
    for number in 0.. {
        let pause = Duration::from_millis(seat.rng.random_range(10..80));
        if !seat.pause(pause).await {
            return;
        }
        let mark = format!("{}-{number}", seat.number);
        let is_retried = seat.rng.random_bool(0.5);
        let metadata = match is_retried {
            true => json!({ "name": format!("once-{mark}") }),
            false => json!({"generateName": format!("any-{mark}-")}),
        };
        let object: ConfigMap = from(json!({"metadata": metadata, "data": {MARK: mark}}));
        let create = Create { is_retried, is_acknowledged: false };
        seat.world.lock().history.kube.creates.insert(mark.clone(), create);
        let called_us = now_us();
        let ask = || async { maps.create(&PostParams::default(), &object).await };
        let version = if is_retried {
            let ask = || async {
                match ask().await {
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
                    outcome => outcome.map(|made| made.metadata.resource_version),
                }
            };
            seat.insist(&format!("create once-{mark}"), ask).await
        } else {
            match ask().await {
                Ok(made) => made.metadata.resource_version,
                Err(error) => {
                    seat.note(format_args!("create any-{mark}: {}", brief(&error)));
                    if seat.world.lock().mutation == Some(Mutation::RepeatsGenerated) {
                        // Whether that was done is of no interest: the first may have been.
                        let _ = ask().await;
                    }
                    continue;
                }
            }
        };
        let mut world = seat.world.lock();
        if let Some(create) = world.history.kube.creates.get_mut(&mark) {
            create.is_acknowledged = true;
        }
        world.count("creates");
        drop(world);
        seat.saw(called_us, version.as_ref(), false);
    }
}
