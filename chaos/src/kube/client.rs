//! A client's host: one workload over the production client of the API.

use std::time::Duration;

use rand::rngs::StdRng;
use store_env::rng;
use store_handle::MemberId;

use super::story::Sighting;
use super::workload::Workload;
use super::{client, connect};
use crate::world::{self, SharedWorld, host};

/// How long a client waits before it asks again after a failure.
const AGAIN: Duration = Duration::from_millis(200);

/// Where a client runs.
pub struct Seat {
    pub number: u64,
    pub world: SharedWorld,
    pub rng: StdRng,
    /// Over all masters.
    pub client: kube::Client,
    /// Over one of them each.
    pub each: Vec<(MemberId, kube::Client)>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Seat {
    /// Waits so long; returns whether to go on.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        let over = self.world.lock().over.clone();
        tokio::select! {
            biased;
            () = over.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        !self.world.lock().is_over
    }

    /// Asks until it is answered as `ask` wants; returns the answer. The request must bear being sent twice.
    pub(crate) async fn insist<T, Fut>(&self, what: &str, mut ask: impl FnMut() -> Fut) -> T
    where
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        loop {
            match ask().await {
                Ok(answer) => {
                    self.note(format_args!("{what}: done"));
                    return answer;
                }
                Err(error) => self.note(format_args!("{what}: {}", brief(&error))),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    pub(crate) fn note(&self, line: std::fmt::Arguments<'_>) {
        let mut world = self.world.lock();
        world.note(world::now(), format_args!("client {}: {line}", self.number));
    }

    /// An answer with this resourceVersion, to a call of that time.
    pub(crate) fn saw(&self, called_us: u64, version: Option<&String>, is_read: bool) {
        let Some(version) = version.and_then(|version| version.parse().ok()) else { return };
        let mut world = self.world.lock();
        let returned_us = world::now_us();
        let client = self.number;
        let sighting = Sighting { client, called_us, returned_us, version, is_read };
        world.history.kube.sightings.push(sighting);
        world.count(if is_read { "api reads" } else { "api writes" });
    }
}

/// An error without what differs from run to run.
pub(crate) fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    }
}

pub(crate) async fn serve(number: u64, workload: Workload, world: SharedWorld) -> turmoil::Result {
    let masters: Vec<MemberId> = world.lock().machines.keys().copied().collect();
    run(number, workload, &masters, world).await?;
    std::future::pending().await
}

/// Lets a client of these masters do its work, until all is over and what it began is done.
pub async fn run(
    number: u64,
    workload: Workload,
    masters: &[MemberId],
    world: SharedWorld,
) -> anyhow::Result<()> {
    let name = host(client(number));
    let each = masters.iter().map(|master| Ok((*master, connect(&world, &name, &[*master])?)));
    let each = each.collect::<anyhow::Result<_>>()?;
    let client = connect(&world, &name, masters)?;
    let rng = rng::named(workload.name, 5_000 + number);
    (workload.run)(Seat { number, world: world.clone(), rng, client, each }).await;
    world.lock().kube.busy -= 1;
    Ok(())
}
