//! A write every few milliseconds, at one master after the other, whether those before were answered or not: what
//! the longest time without an acknowledgement is measured by.

use std::time::Duration;

use anyhow::ensure;
use chaos::history::{Action, Outcome};
use chaos::kube::workload::REGISTER;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use store_env::task::Crew;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::objects::KINDS;
use crate::faults::record::SharedRecord;

const EVERY: Duration = Duration::from_millis(20);
/// No more than these wait for an answer.
const WAITING_MAX: usize = 150;
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
const MAPS: usize = 16;
const CLIENT: u32 = 400;

/// Makes maps to be written by one client; their names.
pub(super) async fn maps(
    client: &Client,
    number: u32,
    name: &str,
    record: &SharedRecord,
) -> anyhow::Result<Vec<String>> {
    let names: Vec<_> = (0..MAPS).map(|map| format!("{name}-{map:02}")).collect();
    for name in &names {
        let made = one(client.clone(), record.clone(), number, name.clone(), true).await;
        ensure!(matches!(made, Outcome::Wrote { .. }), "{name} was not made, with no fault");
    }
    Ok(names)
}

/// Makes the maps, and seats the one who writes them.
pub(super) async fn seat(
    crew: &mut Crew,
    each: &[Client],
    record: &SharedRecord,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let maps = maps(&each[0], CLIENT, "pulse", record).await?;
    let (mut each, record) = (each.to_vec(), record.clone());
    crew.spawn(beat(maps, EVERY, stop.clone(), move |map| {
        each.rotate_left(1);
        let (client, record) = (each[0].clone(), record.clone());
        async move {
            let _ = one(client, record, CLIENT, map, false).await;
        }
    }));
    Ok(())
}

/// Has maps written one after the other, `every` so often, whether those before were answered or not; until told to stop.
pub(super) async fn beat<F: Future<Output = ()> + Send + 'static>(
    maps: Vec<String>,
    every: Duration,
    stop: CancellationToken,
    mut write: impl FnMut(String) -> F,
) {
    let mut waiting = Crew::new();
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for map in maps.iter().cycle() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = beat.tick() => {}
        }
        while waiting.len() >= WAITING_MAX {
            waiting.next_ended().await;
        }
        waiting.spawn(write(map.clone()));
    }
    waiting.finish(PATIENCE).await;
}

/// One write of one map, or its making; what was heard of it.
pub(super) async fn one(
    client: Client,
    record: SharedRecord,
    number: u32,
    name: String,
    is_new: bool,
) -> Outcome {
    let value = record.fresh_value();
    let key = format!("{}default/{name}", KINDS[0].prefix);
    let action = match is_new {
        true => Action::Cas { expected: None, value },
        false => Action::Put { value },
    };
    let at = record.call(number, &key, action);
    let data = json!({"metadata": {"name": name}, "data": {REGISTER: value.to_string()}});
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let asked = async {
        match is_new {
            true => {
                let map = serde_json::from_value(data).map_err(kube::Error::SerdeError)?;
                maps.create(&PostParams::default(), &map).await
            }
            false => maps.patch(&name, &PatchParams::default(), &Patch::Merge(data)).await,
        }
    };
    let heard = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(map)) => {
            let revision = map.metadata.resource_version.and_then(|it| it.parse().ok());
            Outcome::Wrote { revision: revision.unwrap_or(0) }
        }
        Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) => Outcome::Nothing,
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    };
    record.answer(at, heard);
    if heard == Outcome::Unknown {
        record.count("pulses without an answer");
    }
    heard
}
