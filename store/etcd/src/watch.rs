//! Watches: many on one stream, each fed by a task of its own.
//!
//! ```text
//! client ──requests──▶ Desk ──create, cancel, "how far?"──▶ follow (one a watch)
//!        ◀──────────────── one bounded channel ◀──────────────┘
//! ```
//! A client that does not read fills the channel; its watches then wait, and the store's hub feeds them
//! from history later: nothing is kept for them here.
//!
//! # Invariants
//! - `created` comes before everything else of a watch, and nothing of it after `canceled`.
//! - A progress reply for the whole stream comes after every event up to its revision, and is not older than where
//!   any of its watches began: a client that goes on on a member that lags does not go back. On a stream of one watch
//!   it is not older than any event before it either.

mod follow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use store_env::task::Crew;
use store_handle::{Error, KeyRange, ReadError, Revision, WatchRequest as StoreWatch};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::follow::{Control, Follow};
use crate::convert::Wanted;
use crate::errors;
use crate::facade::Facade;
use crate::proto::etcdserverpb::watch_create_request::FilterType;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::watch_server::Watch;
use crate::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::standing;

/// Replies that wait for one client at most.
const REPLIES_MAX: usize = 64;

/// Whoever requires a leader is sent away when there has been none for so long.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

/// How often it is looked whether a member that lags has got as far as its client was elsewhere.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Answers about a whole stream that may be under way at once.
const PROGRESS_MAX: usize = 16;

/// The watch id of replies that concern all watches of a stream, or none.
pub(crate) const NO_WATCH: i64 = -1;

/// What goes to the client.
pub(crate) type Replies = mpsc::Sender<Result<WatchResponse, Status>>;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct WatchService(pub(crate) Arc<Facade>);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let needs_leader = request.metadata().get("hasleader").is_some_and(|value| value == "true");
        if needs_leader && self.0.leadership().leader.is_none() {
            return Err(errors::no_leader());
        }
        let (replies, receiver) = mpsc::channel(REPLIES_MAX);
        let desk = Desk {
            facade: self.0.clone(),
            replies,
            watches: BTreeMap::new(),
            next_id: 0,
            progress: Arc::new(Semaphore::new(PROGRESS_MAX)),
            crew: Crew::new(),
        };
        // The desk lives in the stream: when the client goes, all of it goes.
        let desk = stream::once(desk.run(request.into_inner(), needs_leader));
        let nothing = desk.filter_map(|()| std::future::ready(None));
        Ok(Response::new(stream::select(ReceiverStream::new(receiver), nothing).boxed()))
    }
}

/// One client's watches.
struct Desk {
    facade: Arc<Facade>,
    replies: Replies,
    watches: BTreeMap<i64, Held>,
    next_id: i64,
    /// Answers about the whole stream that may be under way.
    progress: Arc<Semaphore>,
    crew: Crew,
}

/// A watch that goes on.
struct Held {
    controls: mpsc::Sender<Control>,
    /// The client has seen everything up to here before it began.
    seen: Revision,
}

impl Desk {
    /// Serves requests until the client goes, or no leader is found. Who has no more requests goes on watching.
    async fn run(mut self, mut requests: Streaming<WatchRequest>, needs_leader: bool) {
        let facade = self.facade.clone();
        let _counted = facade.metrics.watch_stream();
        let leaderless = leaderless(self.facade.clone(), needs_leader);
        let corrupted = corrupted(self.facade.clone());
        tokio::pin!(leaderless, corrupted);
        let mut has_all = false;
        loop {
            let request = tokio::select! {
                // Without a leader no request can be served as promised, from a state that has diverged none at all.
                biased;
                () = &mut corrupted => {
                    drop(self.replies.send(Err(errors::corrupt())).await);
                    return;
                }
                () = &mut leaderless => {
                    drop(self.replies.send(Err(errors::no_leader())).await);
                    return;
                }
                request = requests.message(), if !has_all => request,
            };
            let request = match request {
                Ok(Some(request)) => request,
                Ok(None) => {
                    has_all = true;
                    continue;
                }
                Err(_) => return,
            };
            match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
                Some(RequestUnion::CancelRequest(cancel)) => {
                    if let Some(watch) = self.watches.remove(&cancel.watch_id) {
                        // A watch that has ended by itself has said so.
                        drop(watch.controls.send(Control::Cancel).await);
                    }
                }
                Some(RequestUnion::ProgressRequest(_)) => self.progress().await,
                None => {}
            }
        }
    }

    async fn create(&mut self, create: WatchCreateRequest) {
        let Some(range) = range_of(create.key.clone(), create.range_end.clone()) else {
            return self.refuse("mvcc: watcher range is empty").await;
        };
        if create.start_revision < 0 {
            return self.refuse(errors::compacted().message()).await;
        }
        let id = match self.choose(create.watch_id) {
            Some(id) => id,
            None => {
                return self.refuse("mvcc: duplicate watch ID provided on the WatchStream").await;
            }
        };
        let request = StoreWatch { range, start: create.start_revision };
        let watched = self.facade.handle.watch(request);
        let revision = match &watched {
            Ok(watcher) => watcher.created_at,
            Err(_) => self.facade.handle.revision(),
        };
        self.reply(revision, id, |reply| reply.created = true).await;
        match watched {
            Ok(watcher) => {
                let (controls, control) = mpsc::channel(4);
                let seen = (create.start_revision - 1).max(0);
                self.watches.insert(id, Held { controls, seen });
                let follow = Follow {
                    facade: self.facade.clone(),
                    id,
                    wanted: wanted(&create),
                    is_fragmented: create.fragment,
                    notifies: create.progress_notify,
                    replies: self.replies.clone(),
                };
                self.crew.spawn(follow.run(watcher.quiet(), control));
            }
            Err(ReadError::Refused(Error::Compacted { oldest, .. })) => {
                self.reply(revision, id, |reply| {
                    reply.canceled = true;
                    reply.compact_revision = oldest;
                })
                .await;
            }
            Err(error) => drop(self.replies.send(Err(errors::of_read(error))).await),
        }
    }

    /// The number of a new watch; `None` if the one asked for is taken.
    fn choose(&mut self, asked: i64) -> Option<i64> {
        self.watches.retain(|_, watch| !watch.controls.is_closed());
        if asked != 0 {
            return (!self.watches.contains_key(&asked)).then_some(asked);
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    /// Says how far the stream is, once each of its watches has got that far, and this member, too. Of those who
    /// ask again and again meanwhile, some hear nothing: they are told by the answers that are under way.
    async fn progress(&mut self) {
        let Ok(asked) = self.progress.clone().try_acquire_owned() else { return };
        self.watches.retain(|_, watch| !watch.controls.is_closed());
        let begun = self.watches.values().map(|watch| watch.seen).max().unwrap_or(0);
        let revision = self.facade.handle.revision().max(begun);
        if let [watch] = self.watches.values().collect::<Vec<_>>()[..] {
            drop(watch.controls.send(Control::Progress { revision, ticket: None }).await);
            return;
        }
        let (ticket, mut all) = mpsc::channel(1);
        for watch in self.watches.values() {
            let control = Control::Progress { revision, ticket: Some(ticket.clone()) };
            drop(watch.controls.send(control).await);
        }
        drop(ticket);
        let (facade, replies) = (self.facade.clone(), self.replies.clone());
        self.crew.spawn(async move {
            // Nothing is ever sent: it ends when the last ticket is gone.
            let _ = all.recv().await;
            while facade.handle.revision() < revision {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let header = Some(facade.header(revision));
            let reply = WatchResponse { header, watch_id: NO_WATCH, ..WatchResponse::default() };
            drop(replies.send(Ok(reply)).await);
            drop(asked);
        });
    }

    async fn refuse(&self, reason: &str) {
        self.reply(self.facade.handle.revision(), NO_WATCH, |reply| {
            reply.created = true;
            reply.canceled = true;
            reply.cancel_reason = reason.into();
        })
        .await;
    }

    async fn reply(
        &self,
        revision: Revision,
        watch_id: i64,
        fill: impl FnOnce(&mut WatchResponse),
    ) {
        let header = Some(self.facade.header(revision));
        let mut reply = WatchResponse { header, watch_id, ..WatchResponse::default() };
        fill(&mut reply);
        // A client that is gone takes the desk with it.
        drop(self.replies.send(Ok(reply)).await);
    }
}

/// Ends when this member's state is found to have diverged.
async fn corrupted(facade: Arc<Facade>) {
    let mut alarms = facade.alarm_changes();
    let is_corrupt = |all: &_| standing::is_corrupt(all, facade.member_id);
    if alarms.wait_for(is_corrupt).await.is_err() {
        // Nobody looks: it is never found.
        std::future::pending::<()>().await;
    }
}

/// Ends when there has been no leader for too long; never if none is needed.
async fn leaderless(facade: Arc<Facade>, needs_leader: bool) {
    if !needs_leader {
        return std::future::pending().await;
    }
    let mut changes = facade.leadership_changes();
    loop {
        if changes.wait_for(|now| now.leader.is_none()).await.is_err() {
            return;
        }
        let back = changes.wait_for(|now| now.leader.is_some());
        match tokio::time::timeout(LEADERLESS_MAX, back).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// As etcd reads a watch's range: no key means all from the first on; `None` if nothing can be in it.
fn range_of(key: Bytes, end: Bytes) -> Option<KeyRange> {
    let start = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
    let is_empty = !end.is_empty() && end[..] != [0] && end <= start;
    (!is_empty).then_some(KeyRange { start, end })
}

fn wanted(create: &WatchCreateRequest) -> Wanted {
    let filters: Vec<FilterType> = create.filters().collect();
    Wanted {
        puts: !filters.contains(&FilterType::Noput),
        deletes: !filters.contains(&FilterType::Nodelete),
        prev: create.prev_kv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_etcd_does() {
        type Bounds = (&'static [u8], &'static [u8]);
        #[rustfmt::skip]
        let cases: [(&[u8], &[u8], Option<Bounds>); 6] = [
            (b"k", b"",   Some((b"k", b""))),
            (b"",  b"",   Some((b"\0", b""))),
            (b"",  b"\0", Some((b"\0", b"\0"))),
            (b"k", b"\0", Some((b"k", b"\0"))),
            (b"k", b"k",  None),
            (b"k", b"a",  None),
        ];
        for (key, end, expected) in cases {
            let found = range_of(Bytes::from_static(key), Bytes::from_static(end));
            let expected = expected.map(|(start, end)| KeyRange {
                start: Bytes::from_static(start),
                end: Bytes::from_static(end),
            });
            assert_eq!(found, expected, "{key:?}..{end:?}");
        }
    }
}
