//! Clients that read, put and compare-and-put a few dozen keys, each key a register.

use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::{Compare, KeyRange, Order, RangeRequest, Target, Txn};
use tokio_util::sync::CancellationToken;

use super::{Seat, put, write};
use crate::history::{Action, Outcome};
use crate::world::{now, now_us};

/// Enough that no key is contended by all: the search for an order grows with overlapping operations.
const KEYS: u32 = 24;

/// The longest a client thinks between two operations.
const THINK_MS_MAX: u64 = 40;

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken, only_reads: bool) -> TaskResult {
    let mut known = vec![None; KEYS as usize];
    loop {
        let think = Duration::from_millis(seat.rng.random_range(1..=THINK_MS_MAX));
        if !seat.pause(think, &stop).await {
            return Ok(());
        }
        let key = seat.rng.random_range(0..KEYS);
        let dice = if only_reads { 0 } else { seat.rng.random_range(0..10) };
        let (at, action) = {
            let mut world = seat.world.lock();
            let action = match dice {
                0..4 => Action::Get,
                4..7 => Action::Put { value: world.fresh_value() },
                _ => {
                    let value = world.fresh_value();
                    Action::Cas { expected: known[key as usize], value }
                }
            };
            (world.history.call(seat.client, name(key), action, now_us()), action)
        };
        let outcome = match action {
            Action::Get => read(&seat, key).await,
            Action::Put { value } => write_if(&seat, key, Vec::new(), value).await,
            Action::Cas { expected, value } => {
                write_if(&seat, key, vec![holds(key, expected)], value).await
            }
        };
        match (action, outcome) {
            (_, Outcome::Read { found }) => known[key as usize] = found,
            (Action::Put { value } | Action::Cas { value, .. }, Outcome::Wrote { .. }) => {
                known[key as usize] = Some(value);
            }
            _ => {}
        }
        let mut world = seat.world.lock();
        world.history.answer(at, outcome, now_us());
        let client = seat.client;
        world.note(now(), format_args!("client {client} key {key} {action:?} {outcome:?}"));
    }
}

fn name(key: u32) -> String {
    format!("reg/{key:02}")
}

fn holds(key: u32, expected: Option<u64>) -> Compare {
    let target = match expected {
        Some(value) => Target::Value(value.to_string().into()),
        None => Target::Version(0),
    };
    Compare { range: KeyRange::key(name(key)), order: Order::Equal, target }
}

async fn read(seat: &Seat, key: u32) -> Outcome {
    if seat.handle.read_index().await.is_err() {
        return Outcome::Nothing;
    }
    let range = KeyRange::key(name(key));
    match seat.handle.range(&RangeRequest { range, ..RangeRequest::default() }) {
        Ok(reply) => Outcome::Read { found: reply.kvs.first().and_then(|kv| number(&kv.value)) },
        Err(_) => Outcome::Nothing,
    }
}

async fn write_if(seat: &Seat, key: u32, compare: Vec<Compare>, value: u64) -> Outcome {
    let success = vec![put(name(key), value.to_string())];
    write(&*seat.handle, Txn { compare, success, failure: Vec::new() }).await
}

/// The number that a register holds.
fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
