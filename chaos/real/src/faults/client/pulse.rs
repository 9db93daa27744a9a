//! A put every few milliseconds, at one member after the other, whether those before were answered or not: what the
//! longest time without an acknowledgement is measured by.

use std::time::Duration;

use chaos::history::{Action, Outcome};
use etcd_client::Client;
use store_env::task::Crew;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Seat, connect, outcome, put};
use crate::faults::record::SharedRecord;

const EVERY: Duration = Duration::from_millis(10);
/// No more than these wait for an answer.
const WAITING_MAX: usize = 300;
const PATIENCE: Duration = Duration::from_secs(3);
const KEYS: u64 = 64;

pub(super) async fn run(seat: Seat, stop: CancellationToken) {
    let mut clients = Vec::new();
    for endpoint in &seat.endpoints {
        // It connects by itself, now and whenever a connection broke.
        if let Ok(client) = connect(endpoint).await {
            clients.push(client);
        }
    }
    let mut crew = Crew::new();
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0.. {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = beat.tick() => {}
        }
        while crew.len() >= WAITING_MAX {
            crew.next_ended().await;
        }
        let client = clients[number % clients.len()].clone();
        crew.spawn(one(client, seat.record.clone(), seat.client));
    }
    crew.finish(PATIENCE).await;
}

async fn one(mut client: Client, record: SharedRecord, number: u32) {
    let value = record.fresh_value();
    let key = format!("pulse/{:02}", value % KEYS);
    let at = record.call(number, &key, Action::Put { value });
    let heard = outcome(put(&mut client, &key, value), PATIENCE).await;
    record.answer(at, heard);
    if heard == Outcome::Unknown {
        record.count("pulses without an answer");
    }
}
