//! One watch: the store's events become replies, several revisions in one where they have piled up.
//!
//! # Invariants
//! - The events of one revision are in one reply, unless the client has asked for fragments.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use prost::Message;
use store_handle::{Revision, WatchItem, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::convert::{self, Wanted};
use crate::errors;
use crate::facade::Facade;
use crate::proto::etcdserverpb::WatchResponse;
use crate::proto::mvccpb;
use crate::watch::{NO_WATCH, Replies};

/// Events that are gathered into one reply, about.
const EVENTS_MAX: usize = 1_000;

/// Bytes that are gathered into one reply, about.
const REPLY_BYTES: usize = 1 << 20;

/// How often a watch that is asked how far it is, and lags, looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a watch is told by its desk.
#[derive(Debug)]
pub(crate) enum Control {
    /// Drop the ticket once everything up to `revision` is on its way to the client, and this member is there.
    /// Without one, this is the stream's only watch: it says itself how far the stream is.
    Progress { revision: Revision, ticket: Option<mpsc::Sender<()>> },
    /// Say so, and end.
    Cancel,
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) facade: Arc<Facade>,
    pub(crate) id: i64,
    pub(crate) wanted: Wanted,
    pub(crate) is_fragmented: bool,
    /// Whether the client wants to hear now and then that nothing has happened.
    pub(crate) notifies: bool,
    pub(crate) replies: Replies,
}

/// Whether to go on.
type Goes = bool;

impl Follow {
    /// Feeds the client until the watch is cancelled, or the client or the store is gone.
    pub(crate) async fn run(self, mut watcher: Watcher, mut control: mpsc::Receiver<Control>) {
        let _counted = self.facade.metrics.watch();
        let mut asked: Vec<(Revision, Option<mpsc::Sender<()>>)> = Vec::new();
        let mut tick = self.tick();
        let mut is_idle = true;
        loop {
            let goes = tokio::select! {
                // What has happened first: progress speaks about it.
                biased;
                item = watcher.next() => {
                    is_idle = false;
                    self.pass_on(item, &mut watcher).await
                }
                control = control.recv() => match control {
                    Some(Control::Progress { revision, ticket }) => {
                        asked.push((revision, ticket));
                        true
                    }
                    Some(Control::Cancel) => {
                        let revision = self.facade.handle.revision();
                        self.reply(revision, |reply| reply.canceled = true).await;
                        false
                    }
                    None => false,
                },
                () = tokio::time::sleep(LOOK_AGAIN), if !asked.is_empty() => true,
                _ = tick.tick(), if self.notifies => {
                    let is_due = std::mem::replace(&mut is_idle, true);
                    !is_due || self.reply(watcher.seen(), |_| {}).await
                }
            };
            if !goes {
                return;
            }
            if !asked.is_empty() {
                // A watch may have begun ahead of its member.
                let seen = watcher.seen();
                let reached = seen.min(self.facade.handle.revision());
                let is_due = |(revision, ticket): &(Revision, Option<_>)| {
                    *revision <= reached && ticket.is_none()
                };
                let due = asked.iter().filter(|asked| is_due(asked)).count();
                asked.retain(|(revision, _)| *revision > reached);
                for _ in 0..due {
                    // From the one who sends its events: no older than any of them.
                    if !self.reply_as(NO_WATCH, seen, |_| {}).await {
                        return;
                    }
                }
            }
        }
    }

    fn tick(&self) -> Interval {
        let every = self.facade.options.progress_every;
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }

    /// Passes an item on, with those that are already behind it.
    async fn pass_on(&self, item: Option<WatchItem>, watcher: &mut Watcher) -> Goes {
        let mut events = Vec::new();
        let mut last = 0;
        let mut bytes = 0;
        let mut next = item;
        loop {
            match next {
                Some(WatchItem::Events { revision, events: found }) => {
                    let from = events.len();
                    convert::events(&found, self.wanted, &mut events);
                    bytes += events[from..].iter().map(Message::encoded_len).sum::<usize>();
                    last = revision;
                }
                Some(WatchItem::Progress { .. }) => {}
                Some(WatchItem::Compacted { oldest }) => {
                    let revision = self.facade.handle.revision();
                    if self.send(last, events, bytes).await {
                        let fill = |reply: &mut WatchResponse| {
                            reply.canceled = true;
                            reply.compact_revision = oldest;
                        };
                        self.reply(revision, fill).await;
                    }
                    return false;
                }
                None => {
                    drop(self.replies.send(Err(errors::stopped())).await);
                    return false;
                }
            }
            if events.len() >= EVENTS_MAX || bytes >= REPLY_BYTES {
                break;
            }
            match watcher.next().now_or_never() {
                Some(Some(behind)) => next = Some(behind),
                // Its end is found again the next time.
                Some(None) | None => break,
            }
        }
        self.send(last, events, bytes).await
    }

    async fn send(&self, revision: Revision, events: Vec<mvccpb::Event>, bytes: usize) -> Goes {
        if events.is_empty() {
            return true;
        }
        self.facade.metrics.events(events.len());
        let bytes_max = self.facade.options.request_bytes_max;
        if !self.is_fragmented || bytes <= bytes_max {
            return self.reply(revision, |reply| reply.events = events).await;
        }
        let mut parts = split(events, bytes_max).into_iter().peekable();
        while let Some(part) = parts.next() {
            let has_more = parts.peek().is_some();
            let fill = |reply: &mut WatchResponse| {
                reply.events = part;
                reply.fragment = has_more;
            };
            if !self.reply(revision, fill).await {
                return false;
            }
        }
        true
    }

    async fn reply(&self, revision: Revision, fill: impl FnOnce(&mut WatchResponse)) -> Goes {
        self.reply_as(self.id, revision, fill).await
    }

    async fn reply_as(
        &self,
        watch_id: i64,
        revision: Revision,
        fill: impl FnOnce(&mut WatchResponse),
    ) -> Goes {
        let header = Some(self.facade.header(revision));
        let mut reply = WatchResponse { header, watch_id, ..WatchResponse::default() };
        fill(&mut reply);
        self.replies.send(Ok(reply)).await.is_ok()
    }
}

/// Cuts events into parts of at most `bytes_max`, or of one event.
fn split(events: Vec<mvccpb::Event>, bytes_max: usize) -> Vec<Vec<mvccpb::Event>> {
    let mut parts: Vec<Vec<mvccpb::Event>> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        let own = event.encoded_len();
        if bytes.saturating_add(own) > bytes_max {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(part) = parts.last_mut() {
            part.push(event);
        }
    }
    parts
}
