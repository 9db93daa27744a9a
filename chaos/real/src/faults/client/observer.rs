//! Sees everything: one observer a member, whose watch never ends of itself, and who asks that member who leads.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chaos::history::{Lead, Revised};
use etcd_client::{Client, WatchOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Seat, by_revision, watch};

const ASK_EVERY: Duration = Duration::from_millis(50);
const WATCH_FOR: Duration = Duration::from_secs(3_600);
const HISTORY_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(mut seat: Seat, stop: CancellationToken) {
    let mut seen = None;
    while seat.pause(50..100, &stop).await {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = watch::watch(&mut seat, "", &mut seen, Instant::now() + WATCH_FOR, false) => {}
        }
        seat.connection = None;
    }
}

/// Who leads, as this member says of itself.
pub(super) async fn leads(mut seat: Seat, stop: CancellationToken) {
    let mut before = None;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        let Some(mut client) = seat.connection().await else { continue };
        let Ok(Ok(status)) = tokio::time::timeout(PATIENCE, client.status()).await else {
            seat.connection = None;
            continue;
        };
        let me = status.header().map_or(0, |header| header.member_id());
        let lead = Lead { term: status.raft_term(), member: me };
        let says = (status.leader() == me && me != 0).then_some(lead);
        seat.record.lead(&mut before, says);
    }
}

/// Every revision from the first to this one, as one member tells it.
pub(crate) async fn whole_history(client: &mut Client, to: i64) -> anyhow::Result<Vec<Revised>> {
    let options = WatchOptions::new().with_all_keys().with_start_revision(1);
    let all = async {
        let mut stream = client.watch("", Some(options)).await?;
        let mut all: Vec<Revised> = Vec::new();
        // The first revision that changes anything is 2.
        while all.last().map_or(1, |last| last.revision) < to {
            let reply = stream.message().await?.context("the watch ended")?;
            if reply.canceled() {
                bail!("the watch was refused: {}", reply.cancel_reason());
            }
            for (revision, writes) in by_revision(reply.events()) {
                all.push(Revised { revision, seen_us: 0, writes });
            }
        }
        anyhow::Ok(all)
    };
    tokio::time::timeout(HISTORY_WITHIN, all).await.context("the whole history did not come")?
}
