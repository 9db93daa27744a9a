//! Reads, puts and compare-and-puts of a few dozen keys, each key a register.

use chaos::history::{Action, Outcome};
use etcd_client::{Client, Compare, CompareOp, Error, Txn, TxnOp};
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Seat, outcome, put};

/// Enough that no key is contended by all: the search for an order grows with overlapping operations.
const KEYS: usize = 24;

pub(super) async fn run(mut seat: Seat, stop: CancellationToken) {
    let mut known = vec![None; KEYS];
    while seat.pause(2..30, &stop).await {
        let key = seat.rng.random_range(0..KEYS);
        let value = seat.record.fresh_value();
        let action = match seat.rng.random_range(0..10) {
            0..4 => Action::Get,
            4..7 => Action::Put { value },
            _ => Action::Cas { expected: known[key], value },
        };
        let Some(mut client) = seat.connection().await else {
            seat.move_on();
            continue;
        };
        let name = format!("reg/{key:02}");
        let at = seat.record.call(seat.client, &name, action);
        let heard = match action {
            Action::Get => match outcome(get(&mut client, &name), PATIENCE).await {
                Outcome::Unknown => Outcome::Nothing,
                heard => heard,
            },
            Action::Put { value } => outcome(put(&mut client, &name, value), PATIENCE).await,
            Action::Cas { expected, value } => {
                outcome(cas(&mut client, &name, expected, value), PATIENCE).await
            }
        };
        seat.record.answer(at, heard);
        match heard {
            Outcome::Read { found } => known[key] = found,
            Outcome::Wrote { .. } => known[key] = action.value(),
            Outcome::Unknown | Outcome::Nothing => seat.move_on(),
            Outcome::Differed => {}
        }
    }
}

async fn get(client: &mut Client, key: &str) -> Result<Outcome, Error> {
    let reply = client.get(key, None).await?;
    let found = reply.kvs().first().and_then(|kv| kv.value_str().ok()?.parse().ok());
    Ok(Outcome::Read { found })
}

async fn cas(
    client: &mut Client,
    key: &str,
    expected: Option<u64>,
    value: u64,
) -> Result<Outcome, Error> {
    let holds = match expected {
        Some(expected) => Compare::value(key, CompareOp::Equal, expected.to_string()),
        None => Compare::version(key, CompareOp::Equal, 0),
    };
    let puts = TxnOp::put(key, value.to_string(), None);
    let reply = client.txn(Txn::new().when([holds]).and_then([puts])).await?;
    match reply.succeeded() {
        true => {
            Ok(Outcome::Wrote { revision: reply.header().map_or(0, |header| header.revision()) })
        }
        false => Ok(Outcome::Differed),
    }
}
