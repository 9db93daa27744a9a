//! Config maps that are registers: read, put whatever they hold, and put only if nobody else has meanwhile, by
//! resourceVersion; at one master as long as it answers.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use rand::Rng;
use serde_json::json;

use super::super::client::Seat;
use super::super::node::from;
use super::super::objects::CONFIG_MAPS;
use crate::history::{Action, Outcome};
use crate::world::now_us;

/// The field that holds the register's value.
pub const VALUE: &str = "register";

const NAMESPACE: &str = "default";
/// Enough that no key is contended by all: the search for an order grows with overlapping operations.
const KEYS: usize = 12;

/// A client that has no answer by then gives up, and does not know.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What a client knows of a register: its value, and the version that has it.
type Known = Option<(u64, String)>;

pub(super) async fn run(mut seat: Seat) {
    let mut known: Vec<Known> = vec![None; KEYS];
    let mut at = usize::try_from(seat.number).unwrap_or(0) % seat.each.len();
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(5..40));
        if !seat.pause(pause).await {
            return;
        }
        let key = seat.rng.random_range(0..KEYS);
        let value = seat.world.lock().fresh_value();
        let expected = known[key].as_ref().map(|(value, _)| *value);
        let action = match seat.rng.random_range(0..10) {
            0..4 => Action::Get,
            4..6 if expected.is_some() => Action::Put { value },
            _ => Action::Cas { expected, value },
        };
        let maps: Api<ConfigMap> = Api::namespaced(seat.each[at].1.clone(), NAMESPACE);
        let name = format!("reg-{key:02}");
        let called = call(&seat, &name, action);
        let asked = tokio::time::timeout(PATIENCE, ask(&maps, &name, action, known[key].as_ref()));
        let (outcome, now_known) = asked.await.unwrap_or((Outcome::Unknown, None));
        answer(&seat, called, outcome);
        match outcome {
            Outcome::Read { .. } | Outcome::Wrote { .. } => known[key] = now_known,
            Outcome::Unknown | Outcome::Nothing => at = seat.rng.random_range(0..seat.each.len()),
            // Somebody else has, and only a read tells what.
            Outcome::Differed => {}
        }
    }
}

fn call(seat: &Seat, name: &str, action: Action) -> usize {
    let client = u32::try_from(seat.number).unwrap_or(0);
    let key = format!("{CONFIG_MAPS}{NAMESPACE}/{name}");
    seat.world.lock().history.call(client, key, action, now_us())
}

fn answer(seat: &Seat, at: usize, outcome: Outcome) {
    let mut world = seat.world.lock();
    world.history.answer(at, outcome, now_us());
    match outcome {
        Outcome::Read { .. } => world.count("register reads"),
        Outcome::Wrote { .. } => world.count("register writes"),
        Outcome::Differed => world.count("registers that others had changed"),
        Outcome::Nothing | Outcome::Unknown => {}
    }
}

/// Asks, and says what was heard, and what the register holds now.
async fn ask(
    maps: &Api<ConfigMap>,
    name: &str,
    action: Action,
    known: Option<&(u64, String)>,
) -> (Outcome, Known) {
    let answer = match action {
        Action::Get => match maps.get_opt(name).await {
            Ok(map) => {
                let now_known = map.as_ref().and_then(holds);
                let found = now_known.as_ref().map(|(value, _)| *value);
                return (Outcome::Read { found }, now_known);
            }
            // It changes nothing, whatever became of it.
            Err(_) => return (Outcome::Nothing, None),
        },
        Action::Put { value } => {
            let patch = Patch::Merge(json!({"data": {VALUE: value.to_string()}}));
            maps.patch(name, &PatchParams::default(), &patch).await
        }
        Action::Cas { value, .. } => {
            let params = PostParams::default();
            let version = known.map(|(_, version)| version);
            let map: ConfigMap = from(json!({
                "metadata": {"name": name, "resourceVersion": version},
                "data": {VALUE: value.to_string()},
            }));
            match version {
                Some(_) => maps.replace(name, &params, &map).await,
                None => maps.create(&params, &map).await,
            }
        }
    };
    match answer {
        Ok(map) => {
            let now_known = holds(&map);
            let version = now_known.as_ref().and_then(|(_, version)| version.parse().ok());
            (Outcome::Wrote { revision: version.unwrap_or(0) }, now_known)
        }
        Err(error) => (refused(&error, action), None),
    }
}

fn holds(map: &ConfigMap) -> Known {
    let value = map.data.as_ref()?.get(VALUE)?.parse().ok()?;
    Some((value, map.resource_version()?))
}

/// What an error says of a write; without an answer, or with one that blames the server, nothing is certain.
fn refused(error: &kube::Error, action: Action) -> Outcome {
    match error {
        kube::Error::Api(status) if status.code == 409 && matches!(action, Action::Cas { .. }) => {
            Outcome::Differed
        }
        kube::Error::Api(status) if (400..500).contains(&status.code) => Outcome::Nothing,
        _ => Outcome::Unknown,
    }
}
