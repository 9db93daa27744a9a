//! Watches for a while, and then goes on where it was: at any member.

use std::time::Duration;

use chaos::history::Sight;
use etcd_client::{WatchOptions, WatchStream};
use rand::Rng as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Seat, by_revision};

/// What is watched, by the client's number.
const PREFIXES: [&str; 4] = ["reg/", "", "pulse/1", "lease/"];

pub(super) async fn run(mut seat: Seat, stop: CancellationToken) {
    let prefix = PREFIXES[seat.client as usize % PREFIXES.len()];
    let mut seen = None;
    while seat.pause(1..100, &stop).await {
        let lasts = Duration::from_millis(seat.rng.random_range(50..2_000));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = watch(&mut seat, prefix, &mut seen, Instant::now() + lasts, true) => {}
        }
        seat.move_on();
    }
}

/// One watch, until the time is over or the stream ends. One that asks is told how far it is.
pub(super) async fn watch(
    seat: &mut Seat,
    prefix: &str,
    seen: &mut Option<i64>,
    until: Instant,
    asks: bool,
) {
    let opened = tokio::time::timeout(PATIENCE, open(seat, prefix, seen)).await;
    let Ok(Some(mut stream)) = opened else { return };
    seat.record.count("watches resumed");
    while let Ok(Ok(Some(reply))) = tokio::time::timeout_at(until, stream.message()).await {
        if reply.canceled() {
            return;
        }
        let revision = reply.header().map_or(0, |header| header.revision());
        if reply.events().is_empty() && !reply.created() {
            seat.record.see(seat.client, prefix, Sight::Progress { revision });
            *seen = Some(revision);
        }
        for (revision, writes) in by_revision(reply.events()) {
            if prefix.is_empty() {
                seat.record.change(revision, &writes);
            }
            seat.record.see(seat.client, prefix, Sight::Events { revision, writes });
            seat.record.count("watch events");
            *seen = Some(revision);
        }
        if asks && seat.rng.random_bool(0.05) && stream.request_progress().await.is_err() {
            return;
        }
    }
}

async fn open(seat: &mut Seat, prefix: &str, seen: &mut Option<i64>) -> Option<WatchStream> {
    let mut client = seat.connection().await?;
    let after = match *seen {
        Some(after) => after,
        None => {
            let reply = client.get("none", None).await.ok()?;
            let after = reply.header()?.revision();
            seat.record.see(seat.client, prefix, Sight::Begins { after });
            *seen = Some(after);
            after
        }
    };
    let options = WatchOptions::new().with_start_revision(after + 1);
    let options = match prefix {
        "" => options.with_all_keys(),
        _ => options.with_prefix(),
    };
    client.watch(prefix, Some(options)).await.ok()
}
