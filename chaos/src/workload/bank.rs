//! Clients that move amounts between accounts, two keys a transaction, and read all accounts at once.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::{
    Command, Compare, KeyRange, Op, OpReply, Order, RangeReply, RangeRequest, Reply, Target, Txn,
};
use tokio_util::sync::CancellationToken;

use super::{Seat, put, text, write};
use crate::history::{Outcome, Snapshot, Transfer};
use crate::world::{now, now_us};

/// The prefix of all accounts.
pub(crate) const ACCOUNTS: &str = "acct/";

const COUNT: u32 = 6;

/// What an account holds before it is first written.
const START: i64 = 100;

/// What an account with this value holds: behind the amount stands what makes the value unique.
pub(crate) fn amount(value: &str) -> Option<i64> {
    value.split_once('/')?.0.parse().ok()
}

fn name(account: u32) -> String {
    format!("{ACCOUNTS}{account}")
}

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken) -> TaskResult {
    loop {
        let think = Duration::from_millis(seat.rng.random_range(5..80));
        if !seat.pause(think, &stop).await {
            return Ok(());
        }
        let called_us = now_us();
        let Some(all) = read(&mut seat).await else { continue };
        let found: Vec<_> = all.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        let revision = all.revision;
        {
            let mut world = seat.world.lock();
            let (client, prefix) = (seat.client, ACCOUNTS.to_owned());
            let snapshot = Snapshot { client, called_us, revision, prefix, found };
            world.history.snapshots.push(snapshot);
            world.count("snapshot reads");
        }
        transfer(&mut seat, &all).await;
    }
}

/// All accounts, by a read here or by a transaction in the log.
async fn read(seat: &mut Seat) -> Option<RangeReply> {
    let range = KeyRange::prefix(ACCOUNTS);
    let request = RangeRequest { range, ..RangeRequest::default() };
    if seat.rng.random_bool(0.5) {
        seat.handle.read_index().await.ok()?;
        return seat.handle.range(&request).ok();
    }
    let success = vec![Op::Range(request)];
    let command = Command::Txn(Txn { success, ..Txn::default() });
    match seat.handle.propose(command, None).await {
        Ok(Reply::Txn(reply)) => match reply.replies.into_iter().next() {
            Some(OpReply::Range(all)) => Some(all),
            _ => None,
        },
        _ => None,
    }
}

async fn transfer(seat: &mut Seat, all: &RangeReply) {
    let held: BTreeMap<String, (i64, i64)> = all
        .kvs
        .iter()
        .map(|kv| (text(&kv.key), (kv.mod_revision, amount(&text(&kv.value)).unwrap_or(0))))
        .collect();
    let from = seat.rng.random_range(0..COUNT);
    let to = (from + seat.rng.random_range(1..COUNT)) % COUNT;
    let sum = seat.rng.random_range(1..20);
    let (mut compare, mut writes) = (Vec::new(), Vec::new());
    for (account, gains) in [(from, -sum), (to, sum)] {
        let key = name(account);
        let (revision, amount) = held.get(&key).copied().unwrap_or((0, START));
        let (range, order) = (KeyRange::key(key.clone()), Order::Equal);
        compare.push(Compare { range, order, target: Target::ModRevision(revision) });
        let unique = seat.world.lock().fresh_value();
        writes.push((key, format!("{}/{unique}", amount + gains)));
    }
    let client = seat.client;
    let at = {
        let (called_us, returned_us, writes) = (now_us(), None, writes.clone());
        let outcome = Outcome::Unknown;
        let transfer = Transfer { client, writes, called_us, returned_us, outcome };
        let mut world = seat.world.lock();
        world.history.transfers.push(transfer);
        world.history.transfers.len() - 1
    };
    let success = writes.iter().cloned().map(|(key, value)| put(key, value)).collect();
    let outcome = write(&*seat.handle, Txn { compare, success, failure: Vec::new() }).await;
    let mut world = seat.world.lock();
    let transfer = &mut world.history.transfers[at];
    (transfer.returned_us, transfer.outcome) = (Some(now_us()), outcome);
    if matches!(outcome, Outcome::Wrote { .. }) {
        world.count("transfers");
    }
    world.note(now(), format_args!("client {client} moves {sum}: {writes:?} {outcome:?}"));
}
