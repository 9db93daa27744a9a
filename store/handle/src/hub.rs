//! Watchers over applied changes: who gets what, and how those who fell behind catch up.
//!
//! ```text
//!            publish(changes)                       page(range, next)
//! applier ──────────────────────▶ synced watchers   history ──────────▶ unsynced watchers
//!                                   │  channel full                        │  nothing left to read,
//!                                   └───────────▶ unsynced                 └─ and nothing published since ─▶ synced
//! ```
//! A channel holds a bounded number of items that share the store's own bytes. Whoever does not empty
//! his is fed from history instead, at his own pace: the applier never waits, and nothing is queued for him.
//!
//! # Invariants
//! - A watcher sees every revision of its range from its start on, once, in order, and whole.
//! - The hub never calls `History` while it holds its own lock: a member may publish under its state lock.
//! - History, which may lie on a disk, is read on a lane: the hub's own task waits for no disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use store_env::disk::Lane;
use store_env::task::TaskResult;
use store_mvcc::Page;
use store_mvcc::types::{Change, Error, Event, KeyRange, Revision};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::handle::{ReadError, WatchItem, WatchRequest};
use crate::watcher::{Progress, Registration, Watcher};

/// Items that wait for one watcher at most.
const CHANNEL_ITEMS_MAX: usize = 1024;

/// Where changes can be read again after they were published.
pub trait History: Send + Sync + std::fmt::Debug + 'static {
    /// At most `changes_max` changes in `range` from revision `from` on; `Compacted` if they are gone.
    /// May read a disk.
    fn page(&self, range: &KeyRange, from: Revision, changes_max: usize)
    -> Result<Page, ReadError>;

    /// The latest revision.
    fn revision(&self) -> Revision;

    /// The oldest revision that can still be watched from.
    fn compacted(&self) -> Revision;
}

/// One watch, as the hub knows it.
#[derive(Debug)]
struct Entry {
    id: u64,
    range: KeyRange,
    /// The first revision that was not sent; earlier ones are skipped.
    next: Revision,
    sender: mpsc::Sender<WatchItem>,
    is_synced: Arc<AtomicBool>,
}

/// A page of history for a watch, and how often the state had been replaced before it was read.
#[derive(Debug)]
struct Read {
    epoch: u64,
    entry: Entry,
    page: Page,
}

/// Watches of one range.
type Peers = BTreeMap<u64, Entry>;

#[derive(Debug, Default)]
struct Registry {
    /// The revision published last.
    published: Revision,
    /// Counts resets: a page read before one says nothing about the history after it.
    epoch: u64,
    last_id: u64,
    is_closed: bool,
    single: BTreeMap<Bytes, Peers>,
    ranged: BTreeMap<(Bytes, Bytes), Peers>,
    /// How many there are in both.
    synced: usize,
    /// Handed to the catch-up task, which owns them until they are synced.
    unsynced: Vec<Entry>,
}

/// All watches of one member.
#[derive(Debug)]
pub struct Hub {
    /// Items that wait for one watcher at most.
    items_max: usize,
    registry: Mutex<Registry>,
    published: watch::Sender<Revision>,
    wake: Notify,
}

impl Hub {
    /// A hub without watchers. [`Hub::run`] must run beside it.
    pub fn new() -> Arc<Self> {
        Self::with_items_max(CHANNEL_ITEMS_MAX)
    }

    fn with_items_max(items_max: usize) -> Arc<Self> {
        let (published, _) = watch::channel(0);
        Arc::new(Self { items_max, registry: Mutex::default(), published, wake: Notify::new() })
    }

    /// A watcher that fell behind is fed again once it has made so much room.
    fn feed_items(&self) -> usize {
        (self.items_max / 4).max(2)
    }

    /// Starts a watch.
    pub fn watch(
        self: &Arc<Self>,
        history: &dyn History,
        request: WatchRequest,
    ) -> Result<Watcher, ReadError> {
        let epoch = self.registry.lock().epoch;
        let created_at = history.revision();
        let next = if request.start <= 0 { created_at + 1 } else { request.start };
        let oldest = history.compacted();
        if next < oldest {
            return Err(Error::Compacted { asked: next, oldest }.into());
        }
        let (sender, receiver) = mpsc::channel(self.items_max);
        let is_synced = Arc::new(AtomicBool::new(false));
        let mut registry = self.registry.lock();
        registry.last_id += 1;
        let id = registry.last_id;
        let range = request.range;
        let registration = self.registration(id, &range);
        let entry = Entry { id, range, next, sender, is_synced: is_synced.clone() };
        // A reset in between may have brought revisions that are never published.
        if registry.is_closed {
            drop(entry);
        } else if next > created_at && registry.epoch == epoch && registry.published < next {
            registry.insert_synced(entry);
        } else {
            registry.unsynced.push(entry);
            self.wake.notify_one();
        }
        drop(registry);
        let published = self.published.subscribe();
        let progress = Progress { published, is_synced, _registration: registration };
        Ok(Watcher::with_progress(created_at, next, receiver, progress))
    }

    /// Whether anybody watches, who is not behind.
    pub fn is_watched(&self) -> bool {
        self.synced() > 0
    }

    /// Hands out changes, right after they were applied and in their order. Never waits.
    pub fn publish(&self, changes: &[Change]) {
        self.publish_all_but(changes, &[]);
    }

    /// The same, where changes of `lacking` revisions (ascending) are not complete: who watches them is fed from
    /// history instead.
    pub fn publish_all_but(&self, changes: &[Change], lacking: &[Revision]) {
        let mut registry = self.registry.lock();
        let Some(last) = changes.last().filter(|_| !registry.is_closed) else { return };
        for change in changes {
            assert!(registry.published < change.revision, "changes are published in order");
            registry.published = change.revision;
            registry.deliver(change, lacking.binary_search(&change.revision).is_err());
        }
        if !registry.unsynced.is_empty() {
            self.wake.notify_one();
        }
        // After the flags of those that fell behind: see `Progress::look`.
        self.published.send_replace(last.revision);
    }

    /// To be called after the state was replaced by a snapshot: everyone continues from its history.
    pub fn reset(&self) {
        let mut registry = self.registry.lock();
        registry.epoch += 1;
        let single = std::mem::take(&mut registry.single).into_values();
        let ranged = std::mem::take(&mut registry.ranged).into_values();
        registry.synced = 0;
        for mut entry in single.chain(ranged).flat_map(Peers::into_values) {
            entry.is_synced.store(false, Ordering::Release);
            // What was published has been sent.
            entry.next = entry.next.max(registry.published + 1);
            registry.unsynced.push(entry);
        }
        self.wake.notify_one();
    }

    /// How many watchers are synced.
    pub fn synced(&self) -> usize {
        self.registry.lock().synced
    }

    /// Feeds those who are behind, until told to stop; then ends all watches. History is read on `lane`.
    pub async fn run(
        self: Arc<Self>,
        history: Arc<dyn History>,
        lane: Lane,
        stop: CancellationToken,
    ) -> TaskResult {
        let mut reading: FuturesUnordered<BoxFuture<'static, Option<Read>>> =
            FuturesUnordered::new();
        let read = |entry| -> BoxFuture<'static, _> {
            Box::pin(self.clone().read(history.clone(), lane.clone(), entry))
        };
        loop {
            for entry in std::mem::take(&mut self.registry.lock().unsynced) {
                reading.push(read(entry));
            }
            tokio::select! {
                // To stop comes first; newcomers last, since there is always another round for them.
                biased;
                () = stop.cancelled() => break,
                Some(page) = reading.next() => {
                    if let Some(entry) = page.and_then(|page| self.feed(page)) {
                        reading.push(read(entry));
                    }
                }
                () = self.wake.notified() => {}
            }
        }
        let closed = Registry { is_closed: true, ..Registry::default() };
        let ended = std::mem::replace(&mut *self.registry.lock(), closed);
        drop(ended);
        Ok(())
    }

    /// Waits until the watcher has made room, and reads what comes next; `None` if it is gone, or has
    /// been told that it ends here.
    async fn read(
        self: Arc<Self>,
        history: Arc<dyn History>,
        lane: Lane,
        entry: Entry,
    ) -> Option<Read> {
        entry.sender.reserve_many(self.feed_items()).await.ok()?;
        let epoch = self.registry.lock().epoch;
        // One item is kept for the progress at the end.
        let room = entry.sender.capacity().saturating_sub(1).min(self.feed_items());
        let (range, next) = (entry.range.clone(), entry.next);
        let read = move || {
            let page = history.page(&range, next, room);
            page.map_err(|error| (error, history.compacted()))
        };
        match lane.run(read).await {
            Ok(Ok(page)) => Some(Read { epoch, entry, page }),
            Ok(Err((ReadError::Refused(_), oldest))) => {
                let _ = entry.sender.try_send(WatchItem::Compacted { oldest });
                None
            }
            Ok(Err((error, _))) => {
                tracing::error!(%error, "a watch ends, since its history cannot be read");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a watch ends, since nobody reads history any more");
                None
            }
        }
    }

    /// Sends one page of history; the entry comes back unless it is synced now, or ended.
    fn feed(&self, read: Read) -> Option<Entry> {
        let Read { epoch, mut entry, page } = read;
        let mut sent = 0;
        for Change { revision, events } in page.changes {
            entry.sender.try_send(WatchItem::Events { revision, events }).ok()?;
            sent = revision;
        }
        entry.next = entry.next.max(page.through + 1);
        let mut registry = self.registry.lock();
        // What comes after a last page is published, unless by the time of a reset. What comes after
        // another page may have come with a snapshot, and is only in history.
        let is_next_published = registry.published < entry.next && registry.epoch == epoch;
        if !page.is_last || !is_next_published {
            return Some(entry);
        }
        if sent < page.through {
            entry.sender.try_send(WatchItem::Progress { revision: page.through }).ok()?;
        }
        registry.insert_synced(entry);
        None
    }

    fn registration(self: &Arc<Self>, id: u64, range: &KeyRange) -> Registration {
        let (hub, range) = (Arc::downgrade(self), range.clone());
        Registration(Box::new(move || {
            if let Some(hub) = hub.upgrade() {
                // Dropped after the lock is free.
                let _entry = hub.registry.lock().remove_synced(id, &range);
            }
        }))
    }
}

impl Registry {
    fn insert_synced(&mut self, entry: Entry) {
        if self.is_closed || entry.sender.is_closed() {
            return;
        }
        entry.is_synced.store(true, Ordering::Release);
        let KeyRange { start, end } = entry.range.clone();
        let peers = if end.is_empty() {
            self.single.entry(start).or_default()
        } else {
            self.ranged.entry((start, end)).or_default()
        };
        peers.insert(entry.id, entry);
        self.synced += 1;
    }

    fn remove_synced(&mut self, id: u64, range: &KeyRange) -> Option<Entry> {
        let KeyRange { start, end } = range.clone();
        let taken = if end.is_empty() {
            take(&mut self.single, &start, id)
        } else {
            take(&mut self.ranged, &(start, end), id)
        };
        self.synced -= usize::from(taken.is_some());
        taken
    }

    fn deliver(&mut self, change: &Change, is_whole: bool) {
        let mut behind = Vec::new();
        if !self.single.is_empty() {
            for event in &*change.events {
                if let Some(peers) = self.single.get(&event.kv.key) {
                    let events = match &*change.events {
                        [_] => change.events.clone(),
                        _ => Arc::from([event.clone()]),
                    };
                    send(peers, (change.revision, is_whole), &events, &mut behind);
                }
            }
        }
        for ((start, end), peers) in &self.ranged {
            let range = KeyRange { start: start.clone(), end: end.clone() };
            if let Some(events) = cut(&change.events, &range) {
                send(peers, (change.revision, is_whole), &events, &mut behind);
            }
        }
        for (id, range) in behind {
            let mut entry = self.remove_synced(id, &range).expect("it was just found there");
            entry.is_synced.store(false, Ordering::Release);
            entry.next = change.revision;
            self.unsynced.push(entry);
        }
    }
}

/// Sends to each of `peers`, noting those whose channel is full; all of them, if the events are not whole.
fn send(
    peers: &Peers,
    (revision, is_whole): (Revision, bool),
    events: &Arc<[Event]>,
    behind: &mut Vec<(u64, KeyRange)>,
) {
    for entry in peers.values().filter(|entry| entry.next <= revision) {
        if !is_whole {
            behind.push((entry.id, entry.range.clone()));
            continue;
        }
        let item = WatchItem::Events { revision, events: events.clone() };
        match entry.sender.try_send(item) {
            // A watcher that is gone takes itself out.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => behind.push((entry.id, entry.range.clone())),
        }
    }
}

/// Those of `events` that `range` holds; nothing is copied if that is all of them.
fn cut(events: &Arc<[Event]>, range: &KeyRange) -> Option<Arc<[Event]>> {
    let held = events.iter().filter(|event| range.contains(&event.kv.key)).count();
    match held {
        0 => None,
        _ if held == events.len() => Some(events.clone()),
        _ => Some(events.iter().filter(|event| range.contains(&event.kv.key)).cloned().collect()),
    }
}

fn take<K: Ord>(groups: &mut BTreeMap<K, Peers>, group: &K, id: u64) -> Option<Entry> {
    let peers = groups.get_mut(group)?;
    let entry = peers.remove(&id);
    if peers.is_empty() {
        groups.remove(group);
    }
    entry
}

#[cfg(test)]
mod tests;
