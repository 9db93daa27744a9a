//! The receiving end of a watch: what was sent to it, and how far the store has gone without it.
//!
//! Events come through a channel of the watcher's own. Progress is not sent but looked up: all watchers
//! share one cell with the revision published last, so that a write costs nothing for the watchers it
//! does not touch, and any number of writes is one progress item.
//!
//! # Invariants
//! - `Progress { revision }` comes after every event up to `revision`; the revisions of items ascend, also from
//!   those of an earlier watch that this one goes on from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store_mvcc::types::Revision;
use tokio::sync::{mpsc, watch};

use crate::handle::WatchItem;

/// A stream of changes, in revision order. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    /// The store's revision when the watch was made: later changes will be seen.
    pub created_at: Revision,
    receiver: mpsc::Receiver<WatchItem>,
    progress: Option<Progress>,
    is_quiet: bool,
    /// Everything up to here has been returned by `next`.
    seen: Revision,
    /// What was not asked for: up to here, progress is no news.
    before: Revision,
}

/// The cells that tell how far the store has gone.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The revision published last, by the whole hub.
    pub(crate) published: watch::Receiver<Revision>,
    /// Whether everything published so far is in the channel.
    pub(crate) is_synced: Arc<AtomicBool>,
    pub(crate) _registration: Registration,
}

/// Ends the watch when it is dropped.
pub(crate) struct Registration(pub(crate) Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registration")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Watcher {
    /// For implementations without a [`crate::hub::Hub`]: a watcher fed from `receiver` alone.
    pub fn new(created_at: Revision, receiver: mpsc::Receiver<WatchItem>) -> Self {
        Self { created_at, receiver, progress: None, is_quiet: false, seen: 0, before: 0 }
    }

    pub(crate) fn with_progress(
        created_at: Revision,
        next: Revision,
        receiver: mpsc::Receiver<WatchItem>,
        progress: Progress,
    ) -> Self {
        let (seen, before) = (created_at.min(next - 1), next - 1);
        Self { created_at, receiver, progress: Some(progress), is_quiet: false, seen, before }
    }

    /// The same watch without progress items: a write elsewhere does not wake it.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    /// The next item; `None` once the store stops or the watch has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            let progress = self.progress.as_mut().filter(|_| !self.is_quiet);
            let item = tokio::select! {
                // The channel first: progress speaks about what went into it before.
                biased;
                item = self.receiver.recv() => item?,
                revision = passed(progress, self.seen.max(self.before)) => match self.receiver.try_recv() {
                    // Sent since the channel was looked at; the progress is found again next time.
                    Ok(item) => item,
                    Err(_) => WatchItem::Progress { revision },
                },
            };
            match &item {
                WatchItem::Events { revision, .. } => self.seen = *revision,
                WatchItem::Progress { revision } => {
                    let is_news = *revision > self.seen.max(self.before);
                    self.seen = self.seen.max(*revision);
                    if self.is_quiet || !is_news {
                        continue;
                    }
                }
                WatchItem::Compacted { .. } => self.progress = None,
            }
            return Some(item);
        }
    }

    /// Up to which revision everything that the watch holds has been returned by [`Watcher::next`].
    pub fn seen(&self) -> Revision {
        let Some(progress) = &self.progress else { return self.seen };
        let published = progress.look();
        // Only now: what was published before is in the channel, or was taken out of it.
        if self.receiver.is_empty() { self.seen.max(published.unwrap_or(0)) } else { self.seen }
    }
}

impl Progress {
    /// A revision up to which everything has been sent, unless the watch is catching up. The order of
    /// the two looks matters: `Hub::publish` clears the flag before it raises the revision.
    fn look(&self) -> Option<Revision> {
        let published = *self.published.borrow();
        self.is_synced.load(Ordering::Acquire).then_some(published)
    }
}

/// Waits until everything up to some revision later than `seen` has been sent.
async fn passed(progress: Option<&mut Progress>, seen: Revision) -> Revision {
    let Some(progress) = progress else { return std::future::pending().await };
    loop {
        progress.published.mark_unchanged();
        if let Some(published) = progress.look()
            && published > seen
        {
            return published;
        }
        if progress.published.changed().await.is_err() {
            // The store stops: the channel's end says so.
            return std::future::pending().await;
        }
    }
}
