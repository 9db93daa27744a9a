//! Updates as an API server makes them: each client its own keys, each compared with the revision read last.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use store_env::task::Crew;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes of a value, as in the other rows.
const VALUE_BYTES: usize = 256;
/// Keys of each client.
const KEYS: usize = 100;

/// The lines of a summary: updates a second, and how long they took.
pub(crate) async fn run(
    endpoints: &[String],
    clients: usize,
    total: i64,
) -> anyhow::Result<String> {
    let mut members = Vec::new();
    for endpoint in endpoints {
        members.push(super::connect(endpoint, super::PATIENCE).await?);
    }
    let left = Arc::new(AtomicI64::new(total));
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut crew = Crew::new();
    let started = Instant::now();
    for number in 0..clients {
        let member = members[number % members.len()].clone();
        let (left, report) = (left.clone(), report.clone());
        // Whoever asks asks at the end.
        crew.spawn(async move { drop(report.send(updates(member, number, &left).await)) });
    }
    drop(report);
    let mut took = Vec::new();
    while let Some(each) = reports.recv().await {
        took.extend(each?);
    }
    let rate = took.len() as f64 / started.elapsed().as_secs_f64();
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 1_000).map_or(0.0, Duration::as_secs_f64);
    Ok(format!("Requests/sec: {rate:.1}\n50% in {:.4} secs.\n99% in {:.4} secs.", at(500), at(990)))
}

/// One client's updates, until there are no more to make; how long each took.
async fn updates(
    mut member: Client,
    number: usize,
    left: &AtomicI64,
) -> anyhow::Result<Vec<Duration>> {
    // Zero: the key is not there yet.
    let mut revisions = [0; KEYS];
    let mut took = Vec::new();
    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
        let place = took.len() % KEYS;
        let key = format!("/registry/configmaps/default/c{number:04}-{place:03}");
        let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, revisions[place]);
        let txn = Txn::new()
            .when([unchanged])
            .and_then([TxnOp::put(key.as_str(), vec![b'x'; VALUE_BYTES], None)])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let sent = Instant::now();
        let response = member.txn(txn).await?;
        took.push(sent.elapsed());
        revisions[place] = match response.succeeded() {
            true => response.header().context("an answer has a header")?.revision(),
            // It was there before this process: the next update of it knows.
            false => found(&response.op_responses()).context("what was compared is not there")?,
        };
    }
    Ok(took)
}

fn found(responses: &[TxnOpResponse]) -> Option<i64> {
    match responses {
        [TxnOpResponse::Get(get)] => get.kvs().first().map(|kv| kv.mod_revision()),
        _ => None,
    }
}
