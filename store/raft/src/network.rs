//! How openraft speaks to the other members: its traits, over [`Peers`].
//!
//! # Invariants
//! - A refused connection is not tried again at once: openraft's own back-off lies inside the request
//!   stream, which is never polled then, so that it would dial in a hot loop.
//! - Heartbeats share one stream for as long as each is answered well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RPCTypes, RaftNetworkFactory};
use store_handle::MemberId;
use tonic::{Status, Streaming};

use crate::disk::StateView;
use crate::peers::{AskError, Peers, Purpose, SNAPSHOT_DEADLINE_MS, message};
use crate::proto::Frame;
use crate::snapshot::SnapshotData;
use crate::standing::{self, Said, Standing};
use crate::traffic::Traffic;
use crate::types::{MemberNode, Snapshot, TypeConfig, Vote};
use crate::wire::{self, Answer, Ask, SnapshotPiece};

/// The first pause after a failed connection; it doubles up to 32 times that.
const PAUSE_MS: u64 = 10;

/// What one message of a snapshot carries, about.
const PIECE_BYTES: usize = 1 << 20;

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// Makes [`Line`]s.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) me: MemberId,
    pub(crate) peers: Arc<Peers>,
}

/// What openraft holds of one other member, for one purpose.
#[derive(Debug)]
pub(crate) struct Line {
    me: MemberId,
    target: MemberId,
    purpose: Purpose,
    peers: Arc<Peers>,
    traffic: Arc<Traffic>,
    failures: u32,
    /// Of heartbeats: the stream of the last one, if it was answered well.
    standing: Option<Standing>,
}

impl Lines {
    fn line(&self, target: MemberId, node: &MemberNode, purpose: Purpose) -> Line {
        self.peers.learn(target, node);
        let (me, peers, traffic) = (self.me, self.peers.clone(), self.peers.traffic(target));
        Line { me, target, purpose, peers, traffic, failures: 0, standing: None }
    }
}

impl RaftNetworkFactory<TypeConfig> for Lines {
    type Network = Line;

    async fn new_client(&mut self, target: MemberId, node: &MemberNode) -> Line {
        self.line(target, node, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, node: &MemberNode) -> Line {
        self.line(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: MemberId, node: &MemberNode) -> Line {
        self.line(target, node, Purpose::Snapshot)
    }
}

impl Line {
    async fn ask(&self, ask: &Ask, kind: RPCTypes, option: &RPCOption) -> Rpc<Answer> {
        let within = option.hard_ttl();
        let asked = self.peers.ask(self.target, ask, within).await;
        asked.map_err(|error| match error {
            AskError::NotSent(reason) => unreachable(reason),
            AskError::NoAnswer(_) => RPCError::Timeout(Timeout {
                action: kind,
                id: self.me,
                target: self.target,
                timeout: within,
            }),
        })
    }

    /// Begins a stream of appends.
    async fn open<S>(&mut self, frames: S) -> Rpc<Streaming<Frame>>
    where
        S: Stream<Item = Frame> + Send + 'static,
    {
        let opened = match self.peers.client(self.target, self.purpose) {
            Ok(mut client) => {
                let request = self.peers.sign(self.target, frames);
                let within = self.peers.times().keep_alive_timeout;
                let late = |_| Status::deadline_exceeded("the stream was not opened");
                let opened = tokio::time::timeout(within, client.append(request)).await;
                opened.map_err(late).flatten().map_err(|status| status.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(response) => {
                self.failures = 0;
                Ok(response.into_inner())
            }
            Err(reason) => {
                self.traffic.send_failed();
                self.pause().await;
                Err(unreachable(reason))
            }
        }
    }

    /// Sends the one heartbeat that `input` holds, over the standing stream.
    async fn beat<S>(&mut self, mut input: S) -> Rpc<Option<StreamAppendResult<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    {
        let Some(request) = input.next().await else { return Ok(None) };
        let mut standing = match self.standing.take() {
            Some(standing) => standing,
            None => {
                let (sender, questions) = standing::questions();
                Standing::new(sender, self.open(questions).await?, self.traffic.clone())
            }
        };
        let frame = match standing.ask(message(&request)).await {
            Said::Answer(frame) => frame,
            Said::Nothing => return Ok(None),
            Said::Broken(status) => {
                self.traffic.send_failed();
                return Err(lost(&status));
            }
        };
        let result: StreamAppendResult<TypeConfig> =
            wire::unframe(&frame).map_err(|error| lost(&error))?;
        // A refusal is the last that is said on a stream.
        self.standing = result.is_ok().then_some(standing);
        Ok(Some(result))
    }

    /// Waits before the caller may try again.
    async fn pause(&mut self) {
        self.failures = (self.failures + 1).min(5);
        tokio::time::sleep(Duration::from_millis(PAUSE_MS << self.failures)).await;
    }
}

impl NetStreamAppend<TypeConfig> for Line {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.purpose == Purpose::Heartbeat {
                let results = self.beat(input).await;
                let results = results.inspect_err(|_| self.traffic.heartbeat_failed())?;
                return Ok(Box::pin(futures::stream::iter(results.map(Ok))) as BoxStream<'s, _>);
            }
            let (sending, hearing) = (self.traffic.clone(), self.traffic.clone());
            let requests = input.map(move |request| {
                let frame = message(&request);
                sending.sent(&frame);
                frame
            });
            let replies = self.open(requests).await?;
            let results = replies.map(move |frame| {
                let frame = frame.map_err(|status| {
                    hearing.send_failed();
                    lost(&status)
                })?;
                hearing.received(&frame);
                wire::unframe(&frame).map_err(|error| lost(&error))
            });
            Ok(Box::pin(results) as BoxStream<'s, _>)
        })
    }
}

impl NetVote<TypeConfig> for Line {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self.ask(&Ask::Vote(request), RPCTypes::Vote, &option).await? {
            Answer::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        match self.ask(&Ask::PreVote(request), RPCTypes::Vote, &option).await? {
            Answer::PreVote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

impl NetTransferLeader<TypeConfig> for Line {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        match self.ask(&Ask::Transfer(request), RPCTypes::TransferLeader, &option).await? {
            Answer::Transfer(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

impl NetBackoff<TypeConfig> for Line {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetSnapshot<TypeConfig> for Line {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            let reason = "only a view of the state can be sent".to_owned();
            return Err(StreamingError::Unreachable(Unreachable::from_string(reason)));
        };
        let head = SnapshotPiece::Head { vote, meta: snapshot.meta };
        let broken = Arc::new(parking_lot::Mutex::new(None));
        let traffic = self.traffic.clone();
        let pieces = Pieces { head: Some(head), view, records: 0, ended: false, broken, traffic };
        let broken = pieces.broken.clone();
        let sent = async {
            let mut client = self.peers.client(self.target, self.purpose)?;
            let request = self.peers.sign(self.target, pieces);
            let within = Duration::from_millis(SNAPSHOT_DEADLINE_MS);
            let late = |_| AskError::NoAnswer("the transfer took too long".into());
            let reply = tokio::time::timeout(within, client.snapshot(request)).await;
            let reply = reply.map_err(late)?.map_err(|s| AskError::NoAnswer(s.to_string()))?;
            self.traffic.received(reply.get_ref());
            wire::unframe(reply.get_ref()).map_err(|error| AskError::NoAnswer(error.to_string()))
        };
        let reply: Result<SnapshotResponse<TypeConfig>, AskError> = tokio::select! {
            // What is done is done: a reply that is there counts, although nobody wants it any more.
            biased;
            reply = sent => reply,
            closed = cancel => {
                self.traffic.snapshot_sent(false);
                return Err(StreamingError::Closed(closed));
            }
        };
        if let Some(error) = broken.lock().take() {
            tracing::warn!(%error, "the state could not be read for a snapshot");
        }
        match reply {
            Ok(response) => {
                self.traffic.snapshot_sent(true);
                Ok(response)
            }
            Err(error) => {
                self.traffic.snapshot_sent(false);
                self.traffic.send_failed();
                self.pause().await;
                let reason = error.to_string();
                Err(StreamingError::Unreachable(Unreachable::from_string(reason)))
            }
        }
    }
}

/// A snapshot as a stream of messages. Without its end the receiver throws all of it away.
struct Pieces {
    head: Option<SnapshotPiece>,
    view: Box<dyn StateView>,
    records: u64,
    ended: bool,
    broken: Arc<parking_lot::Mutex<Option<std::io::Error>>>,
    traffic: Arc<Traffic>,
}

impl Stream for Pieces {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Frame>> {
        let frame = self.next_piece();
        frame.iter().for_each(|frame| self.traffic.sent(frame));
        Poll::Ready(frame)
    }
}

impl Pieces {
    fn next_piece(&mut self) -> Option<Frame> {
        if let Some(head) = self.head.take() {
            return Some(message(&head));
        }
        if self.ended {
            return None;
        }
        let piece = match self.view.next_chunk(PIECE_BYTES) {
            Ok(records) if records.is_empty() => {
                self.ended = true;
                SnapshotPiece::End { records: self.records }
            }
            Ok(records) => {
                self.records += records.len() as u64;
                SnapshotPiece::Records(records)
            }
            Err(error) => {
                *self.broken.lock() = Some(error);
                self.ended = true;
                return None;
            }
        };
        Some(message(&piece))
    }
}

// `StateView` is only ever touched by whoever polls the stream.
impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("records", &self.records).finish_non_exhaustive()
    }
}

fn unreachable(reason: String) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

fn lost(error: &dyn std::error::Error) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&AnyError::error(error)))
}

fn unexpected(answer: &Answer) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&AnyError::error(format!("unexpected {answer:?}"))))
}
