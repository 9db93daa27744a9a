//! Watches of the API: one of each kind on each master, which never ends of itself, and some of clients that end and
//! go on on any master.

use std::time::Duration;

use chaos::history::{Sight, Write};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::Request;
use kube::Client;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use store_env::task::Crew;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gaps::Listed;
use super::objects::{KINDS, Kind, revision};
use crate::faults::record::SharedRecord;

const PATIENCE: Duration = Duration::from_millis(1_500);
const WATCH_FOR: Duration = Duration::from_secs(3_600);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Gone: the master's memory does not reach back that far.
const GONE: u64 = 410;

/// Somebody who watches, and where they are.
struct Watcher {
    number: u32,
    kind: Kind,
    seen: Option<i64>,
    record: SharedRecord,
}

/// Seats those who only look: one a kind, at this master.
pub(super) fn seat_observers(
    crew: &mut Crew,
    master: u32,
    client: &Client,
    record: &SharedRecord,
    stop: &CancellationToken,
) {
    for (number, kind) in (master * 100..).zip(KINDS) {
        let mut watcher = Watcher { number, kind: *kind, seen: None, record: record.clone() };
        let (client, stop) = (client.clone(), stop.clone());
        crew.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = watcher.watch(&client, Instant::now() + WATCH_FOR) => {}
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
    }
}

/// Seats one who watches for a while, and then goes on on any master.
pub(super) fn seat_client(
    crew: &mut Crew,
    number: u32,
    seed: u64,
    each: &[Client],
    record: &SharedRecord,
    stop: &CancellationToken,
) {
    let kind = KINDS[if number.is_multiple_of(2) { 0 } else { 3 }];
    let mut watcher = Watcher { number: 1_000 + number, kind, seen: None, record: record.clone() };
    let mut rng = SmallRng::seed_from_u64(seed ^ u64::from(number));
    let (each, stop) = (each.to_vec(), stop.clone());
    crew.spawn(async move {
        loop {
            let at = rng.random_range(0..each.len());
            let until = Instant::now() + Duration::from_millis(rng.random_range(50..2_000));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = watcher.watch(&each[at], until) => {}
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..100))).await;
        }
    });
}

impl Watcher {
    /// One watch, until the time is over or the stream ends.
    async fn watch(&mut self, client: &Client, until: Instant) {
        if self.seen.is_none() && !self.begin(client).await {
            return;
        }
        let after = self.seen.unwrap_or_default();
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&resourceVersion={after}",
            self.kind.path
        );
        let Ok(request) = Request::get(path).body(Vec::new()) else { return };
        let opened = tokio::time::timeout(PATIENCE, client.request_stream(request)).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(kube::Error::Api(status))) if u64::from(status.code) == GONE => {
                return self.forget();
            }
            _ => return,
        };
        self.record.count("watches resumed");
        let mut lines = std::pin::pin!(stream.lines());
        while let Ok(Some(Ok(line))) = tokio::time::timeout_at(until, lines.next()).await {
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                // Cut off in the middle, with its master.
                return self.record.count("events cut off");
            };
            if !self.take(event) {
                return;
            }
        }
    }

    /// Lists what there is; whether it was told.
    async fn begin(&mut self, client: &Client) -> bool {
        let listed = tokio::time::timeout(PATIENCE, self.kind.list(client)).await;
        let Ok(Ok((after, listed))) = listed else { return false };
        let keys = listed.iter().map(|told| told.key.clone()).collect();
        self.record.lists.lock().push(Listed { prefix: self.kind.prefix, after, keys });
        for told in listed {
            self.record.change_of(told.revision, &Write { key: told.key, value: Some(told.text) });
        }
        self.record.see(self.number, self.kind.prefix, Sight::Begins { after });
        self.seen = Some(after);
        true
    }

    /// Begins again: with a list.
    fn forget(&mut self) {
        self.seen = None;
        self.record.count("watches begun again");
    }

    /// An event; whether to go on.
    fn take(&mut self, event: Value) -> bool {
        let Value::Object(mut event) = event else { return false };
        let object = event.remove("object").unwrap_or_default();
        let what = event.remove("type");
        let sight = match what.as_ref().and_then(Value::as_str) {
            Some("BOOKMARK") => revision(&object).map(|revision| Sight::Progress { revision }),
            Some("ERROR") if object["code"].as_u64() == Some(GONE) => {
                self.forget();
                return false;
            }
            Some(what @ ("ADDED" | "MODIFIED" | "DELETED")) => self.kind.told(object).map(|told| {
                let value = (what != "DELETED").then_some(told.text);
                let writes = vec![Write { key: told.key, value }];
                Sight::Events { revision: told.revision, writes }
            }),
            _ => None,
        };
        let Some(sight) = sight else { return false };
        match &sight {
            Sight::Events { revision, writes } => {
                self.record.count("watch events");
                self.record.change_of(*revision, &writes[0]);
                self.seen = Some(*revision);
            }
            Sight::Progress { revision } => {
                self.record.count("bookmarks");
                self.seen = Some(*revision);
            }
            Sight::Begins { .. } => {}
        }
        self.record.see(self.number, self.kind.prefix, sight);
        true
    }
}
