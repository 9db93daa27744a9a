//! Clients that watch for a while, and then go on where they were: here or on another member.

use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::{Error, EventKind, KeyRange, ReadError, Revision, WatchItem, WatchRequest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Seat, text};
use crate::history::{Sight, Watched, Write};
use crate::world::{Session, SharedWorld, now};

/// What sessions watch, by their number.
const PREFIXES: [&str; 6] = ["reg/", "acct/", "", "reg/1", "fenced", "lease/"];

/// A session in use; put back when it is dropped, for whoever comes next.
struct InUse {
    world: SharedWorld,
    session: Session,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.world.lock().sessions.push(self.session.clone());
    }
}

impl InUse {
    fn take(seat: &mut Seat) -> Self {
        let mut world = seat.world.lock();
        let session = match world.sessions.len() {
            0 => {
                let number = u32::try_from(world.fresh_value()).unwrap_or(u32::MAX);
                Session { number, seen: None }
            }
            free => world.sessions.swap_remove(seat.rng.random_range(0..free)),
        };
        drop(world);
        Self { world: seat.world.clone(), session }
    }

    fn prefix(&self) -> &'static str {
        PREFIXES[self.session.number as usize % PREFIXES.len()]
    }

    fn see(&mut self, sight: Sight, seen: Revision) {
        let (watcher, prefix) = (self.session.number, self.prefix().to_owned());
        self.session.seen = Some(seen);
        let mut world = self.world.lock();
        world.note(now(), format_args!("watcher {watcher} {sight:?}"));
        world.history.watched.push(Watched { watcher, prefix, sight });
    }

    fn begin(&mut self, after: Revision) {
        self.see(Sight::Begins { after }, after);
    }
}

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken) -> TaskResult {
    loop {
        let think = Duration::from_millis(seat.rng.random_range(1..100));
        if !seat.pause(think, &stop).await {
            return Ok(());
        }
        let mut session = InUse::take(&mut seat);
        let lasts = Duration::from_millis(seat.rng.random_range(50..1_500));
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = watch(&seat, &mut session, Instant::now() + lasts) => {}
        }
    }
}

async fn watch(seat: &Seat, session: &mut InUse, until: Instant) {
    let range = KeyRange::prefix(session.prefix());
    let seen = match session.session.seen {
        Some(seen) => seen,
        None => {
            let Ok(revision) = seat.handle.read_index().await else { return };
            session.begin(revision);
            revision
        }
    };
    let mut watcher = match seat.handle.watch(WatchRequest { range, start: seen + 1 }) {
        Ok(watcher) => watcher,
        Err(ReadError::Refused(Error::Compacted { .. })) => {
            return begin_again(seat, session).await;
        }
        Err(_) => return,
    };
    seat.world.lock().count("watches resumed");
    while let Ok(Some(item)) = tokio::time::timeout_at(until, watcher.next()).await {
        match item {
            WatchItem::Events { revision, events } => {
                let write = |event: &store_handle::Event| Write {
                    key: text(&event.kv.key),
                    value: (event.kind == EventKind::Put).then(|| text(&event.kv.value)),
                };
                let writes = events.iter().map(write).collect();
                session.see(Sight::Events { revision, writes }, revision);
                seat.world.lock().count("watch events");
            }
            WatchItem::Progress { revision } => {
                session.see(Sight::Progress { revision }, revision);
            }
            WatchItem::Compacted { .. } => return begin_again(seat, session).await,
        }
    }
}

/// What it needs is gone: it reads afresh, and watches from there.
async fn begin_again(seat: &Seat, session: &mut InUse) {
    seat.world.lock().count("watches begun again");
    if let Ok(revision) = seat.handle.read_index().await {
        session.begin(revision);
    }
}
