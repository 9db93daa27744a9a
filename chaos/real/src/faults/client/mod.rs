//! Clients of etcd's API: each does one thing again and again, at one member as long as that answers, and records
//! what it asked and heard.

mod lease;
mod observer;
mod pulse;
mod register;
mod watch;

use std::future::Future;
use std::time::Duration;

use chaos::history::{Outcome, Write};
use etcd_client::{Client, ConnectOptions, Error, Event, EventType};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use super::record::SharedRecord;

pub(crate) use observer::whole_history;

/// A client that has no answer by then gives up, and does not know.
const PATIENCE: Duration = Duration::from_millis(1_500);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// gRPC codes that say that nothing was done: what was asked is refused, or there is no room for it.
const NOTHING_DONE: &[i32] = &[3, 8, 9];

/// One client's place.
struct Seat {
    client: u32,
    record: SharedRecord,
    rng: SmallRng,
    endpoints: Vec<String>,
    /// At which of them it is.
    at: usize,
    connection: Option<Client>,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) registers: u32,
    pub(crate) watchers: u32,
    pub(crate) leases: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self { registers: 6, watchers: 4, leases: 2 }
    }
}

/// Seats all who ask; they go on until told to stop.
pub(crate) fn seat(
    crew: &mut Crew,
    counts: Counts,
    seed: u64,
    endpoints: &[String],
    record: &SharedRecord,
    stop: &CancellationToken,
) {
    let seat = |client| Seat::new(client, seed, endpoints, record);
    for client in 0..counts.registers {
        crew.spawn(register::run(seat(100 + client), stop.clone()));
    }
    for client in 0..counts.watchers {
        crew.spawn(watch::run(seat(200 + client), stop.clone()));
    }
    for client in 0..counts.leases {
        crew.spawn(lease::run(seat(300 + client), stop.clone()));
    }
    crew.spawn(pulse::run(seat(400), stop.clone()));
}

/// Seats those who only look: two at each member.
pub(crate) fn seat_observers(
    crew: &mut Crew,
    endpoints: &[String],
    record: &SharedRecord,
    stop: &CancellationToken,
) {
    for (client, at) in (500..).zip(0..endpoints.len()) {
        let seat = || Seat { at, ..Seat::new(client, 0, endpoints, record) };
        crew.spawn(observer::run(seat(), stop.clone()));
        crew.spawn(observer::leads(seat(), stop.clone()));
    }
}

impl Seat {
    fn new(client: u32, seed: u64, endpoints: &[String], record: &SharedRecord) -> Self {
        Self {
            client,
            record: record.clone(),
            rng: SmallRng::seed_from_u64(seed ^ (u64::from(client) << 32)),
            endpoints: endpoints.to_vec(),
            at: client as usize % endpoints.len(),
            connection: None,
        }
    }

    /// A connection to the member that it is at.
    async fn connection(&mut self) -> Option<Client> {
        if self.connection.is_none() {
            self.connection = connect(&self.endpoints[self.at]).await.ok();
        }
        self.connection.clone()
    }

    /// Goes to any member.
    fn move_on(&mut self) {
        self.connection = None;
        self.at = self.rng.random_range(0..self.endpoints.len());
    }

    /// Waits; returns whether to go on.
    async fn pause(&mut self, ms: std::ops::Range<u64>, stop: &CancellationToken) -> bool {
        let pause = Duration::from_millis(self.rng.random_range(ms));
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// A client of one member.
pub(crate) async fn connect(endpoint: &str) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_connect_timeout(CONNECT_WITHIN);
    Client::connect([endpoint], Some(options)).await
}

/// What an answer to a write says; it may never come.
async fn outcome(
    asked: impl Future<Output = Result<Outcome, Error>>,
    patience: Duration,
) -> Outcome {
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Error::GRpcStatus(status))) if NOTHING_DONE.contains(&i32::from(status.code())) => {
            Outcome::Nothing
        }
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    }
}

/// Puts a register, whatever it holds.
async fn put(client: &mut Client, key: &str, value: u64) -> Result<Outcome, Error> {
    let reply = client.put(key, value.to_string(), None).await?;
    Ok(Outcome::Wrote { revision: reply.header().map_or(0, |header| header.revision()) })
}

/// Events by revision, each whole.
fn by_revision(events: &[Event]) -> Vec<(i64, Vec<Write>)> {
    let mut all: Vec<(i64, Vec<Write>)> = Vec::new();
    for event in events {
        let Some(kv) = event.kv() else { continue };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = (event.event_type() == EventType::Put).then(|| text(kv.value()));
        let write = Write { key: text(kv.key()), value };
        match all.last_mut() {
            Some((revision, writes)) if *revision == kv.mod_revision() => writes.push(write),
            _ => all.push((kv.mod_revision(), vec![write])),
        }
    }
    all
}
