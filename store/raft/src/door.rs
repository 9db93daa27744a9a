//! The accepting side: what other members may ask of this one.
//!
//! # Invariants
//! - Nothing is read of a message before its sender's group, epoch and number have been checked, and that
//!   it is meant for this member: an address may have passed to another one. (A roster is asked for by one
//!   that has no number yet; that question has no content.)
//! - A member that was removed is refused, whatever it says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use futures::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use store_env::net::{Accepted, BoxStream, Handshake, Listener};
use store_env::task::{Crew, TaskResult};
use store_handle::MemberId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::core::Core;
use crate::fail_over;
use crate::peers::{IDENTITY, Identity, MESSAGE_BYTES_MAX, message};
use crate::proto::Frame;
use crate::proto::peer_server::{Peer, PeerServer};
use crate::roster::Roster;
use crate::snapshot::SnapshotData;
use crate::traffic::Traffic;
use crate::types::{Snapshot, TypeConfig};
use crate::wire::{self, Answer, Ask, Hello, Outcome, SnapshotPiece, Undone};
use crate::{hashes, members, propose, read, succession};

/// How long a new connection may take to prove itself.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long the sender of a snapshot may say nothing.
const PIECE_WAIT_MAX: Duration = Duration::from_secs(30);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// How a door closes, which comes after its member was told to stop: a successor still needs its vote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing {
    /// No new connections and questions; those that are being answered get their answer.
    pub(crate) begin: CancellationToken,
    /// Connections break.
    pub(crate) end: CancellationToken,
}

/// Serves the other members.
pub(crate) async fn run(
    core: Arc<Core>,
    listeners: Vec<Box<dyn Listener>>,
    closing: Closing,
) -> TaskResult {
    let (incoming, accepted) = mpsc::channel(16);
    let times = core.peers.times();
    let service = PeerServer::new(Door { core, closing: closing.begin.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let connections = tokio_stream::wrappers::ReceiverStream::new(accepted);
    let serve = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(times.keep_alive_every))
        .http2_keepalive_timeout(Some(times.keep_alive_timeout))
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(4 << 20)
        .serve_with_incoming_shutdown(service, connections, closing.begin.cancelled());
    let each = listeners.into_iter().map(|listener| accept(listener, incoming.clone(), &closing));
    let accepting = join_all(each);
    drop(incoming);
    let both = async { tokio::join!(serve, accepting) };
    tokio::select! {
        biased;
        () = closing.end.cancelled() => Ok(()),
        (served, _) = both => Ok(served?),
    }
}

async fn accept(
    mut listener: Box<dyn Listener>,
    incoming: mpsc::Sender<io::Result<Connection>>,
    closing: &Closing,
) {
    let mut crew = Crew::new();
    loop {
        let next = tokio::select! {
            biased;
            () = closing.begin.cancelled() => return,
            next = listener.accept() => next,
        };
        match next {
            Ok(handshake) => {
                crew.spawn(admit(handshake, incoming.clone(), closing.end.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: existing connections go on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn admit(
    handshake: Handshake,
    incoming: mpsc::Sender<io::Result<Connection>>,
    closed: CancellationToken,
) {
    match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(Accepted { stream, peer })) => {
            let closed = Box::pin(closed.cancelled_owned());
            // Nobody takes it any more: the store is stopping.
            drop(incoming.send(Ok(Connection { stream, peer, closed })).await);
        }
        Ok(Err(error)) => tracing::warn!(%error, "a connection was refused"),
        Err(_) => tracing::warn!("a connection did not prove itself in time"),
    }
}

/// An accepted connection, which breaks when the member stops.
pub(crate) struct Connection {
    stream: BoxStream,
    peer: String,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connected for Connection {
    type ConnectInfo = String;

    fn connect_info(&self) -> String {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Clone, Debug)]
struct Door {
    core: Arc<Core>,
    closing: CancellationToken,
}

impl Door {
    /// Who asks; refused unless it is a member of this group that means this member.
    fn check<T>(&self, request: &Request<T>) -> Result<Identity, Status> {
        let refused = |reason: String| Err(Status::permission_denied(reason));
        let header = request.metadata().get(IDENTITY).and_then(|value| value.to_str().ok());
        let Some(identity) = header.and_then(Identity::parse) else {
            return refused("who asks?".into());
        };
        let config = &self.core.config;
        if identity.cluster_id != config.cluster_id {
            let (theirs, ours) = (identity.cluster_id, config.cluster_id);
            return refused(format!("cluster {theirs:016x} is not {ours:016x}"));
        }
        if identity.epoch != config.epoch {
            return Err(succession::refusal(identity.epoch, config));
        }
        if identity.to != config.member.id {
            return refused(format!("member {} is not here", identity.to));
        }
        if self.core.replica.was_removed(identity.from) {
            return Err(removed(identity.from));
        }
        Ok(identity)
    }

    /// Takes a snapshot in, piece by piece; what to answer.
    async fn install(
        &self,
        mut frames: Streaming<Frame>,
        traffic: &Traffic,
    ) -> Result<Frame, Status> {
        let SnapshotPiece::Head { vote, meta } = next_piece(&mut frames, traffic).await? else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        let (replica, flush) = (self.core.replica.clone(), &self.core.flush);
        let mut replacement = flush.run(move || replica.begin_replace()).await??;
        let mut count = 0;
        loop {
            match next_piece(&mut frames, traffic).await? {
                SnapshotPiece::Records(records) => {
                    count += records.len() as u64;
                    let put = move || replacement.put(records).map(|()| replacement);
                    replacement = flush.run(put).await??;
                }
                SnapshotPiece::End { records } if records == count => break,
                _ => return Err(Status::data_loss("pieces of the snapshot are missing")),
            }
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(replacement) };
        let installed = self.core.raft.install_full_snapshot(vote, snapshot).await;
        Ok(message(&installed.map_err(|error| failed(&error))?))
    }

    async fn answer(&self, asker: MemberId, ask: Ask) -> Result<Answer, Status> {
        let core = &self.core;
        Ok(match ask {
            Ask::Vote(request) => {
                Answer::Vote(core.raft.vote(request).await.map_err(|e| failed(&e))?)
            }
            Ask::PreVote(request) => {
                Answer::PreVote(core.raft.pre_vote(request).await.map_err(|e| failed(&e))?)
            }
            Ask::Transfer(request) => {
                let response = core.raft.handle_transfer_leader(request).await;
                Answer::Transfer(response.map_err(|e| failed(&e))?)
            }
            // What would be answered comes from a state that cannot be trusted.
            Ask::Propose(commands) if core.alarms.of(core.id()).is_corrupt => {
                let undone = |_| Outcome::Undone(Undone::NotLeader);
                Answer::Propose(commands.into_iter().map(undone).collect())
            }
            Ask::Propose(commands) => {
                Answer::Propose(propose::propose_forwarded(core, commands).await)
            }
            Ask::ReadIndex => Answer::ReadIndex(match core.leader() {
                Some(leader) if leader == core.id() => read::confirm(core).await,
                _ => Err("this member does not lead".into()),
            }),
            Ask::ReadIndexWith(vote) => {
                Answer::ReadIndex(match read::confirm_with(core, asker, vote).await {
                    Some(index) => Ok(index),
                    None if core.leader() == Some(core.id()) => read::confirm(core).await,
                    None => Err("this member does not lead".into()),
                })
            }
            Ask::Change(change) => Answer::Change(members::change_here(core, change).await),
            Ask::HandOver(to) => Answer::HandOver(members::hand_over_here(core, to).await),
            Ask::IsGone(member) => {
                let is_gone = core.peers.is_refused(member).await;
                Answer::IsGone(fail_over::state(core, is_gone).await)
            }
            Ask::Alarms(theirs) => {
                core.alarms.change(asker, |known| *known = theirs);
                Answer::Alarms(core.alarms.of(core.id()))
            }
            Ask::Hash(revision) => Answer::Hash(hashes::sum_here(core, revision).await),
            Ask::Verdict(verdict) => {
                hashes::hear(core, &verdict);
                Answer::Verdict
            }
        })
    }
}

#[tonic::async_trait]
impl Peer for Door {
    type AppendStream = Frames;
    type AttendStream = Frames;
    type TalkStream = Frames;

    async fn append(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        let traffic = self.core.peers.traffic(self.check(&request)?.from);
        let answering = traffic.clone();
        // A broken connection or message ends the stream: the leader begins another.
        let requests = request.into_inner().scan(traffic, |traffic, frame| {
            let read = |frame| wire::unframe::<AppendEntriesRequest<TypeConfig>>(&frame).ok();
            std::future::ready(heard(traffic, frame).ok().and_then(read))
        });
        let results = self.core.raft.stream_append(requests);
        let frames = results.map(move |result| match result {
            Ok(result) => Ok(said(&answering, message(&result))),
            Err(error) => Err(failed(&error)),
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frame>, Status> {
        let traffic = self.core.peers.traffic(self.check(&request)?.from);
        let installed = self.install(request.into_inner(), &traffic).await;
        traffic.snapshot_received(installed.is_ok());
        Ok(Response::new(said(&traffic, installed?)))
    }

    async fn ask(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        let asker = self.check(&request)?.from;
        let traffic = self.core.peers.traffic(asker);
        let ask = wire::unframe(&heard(&traffic, Ok(request.into_inner()))?)?;
        Ok(Response::new(said(&traffic, message(&self.answer(asker, ask).await?))))
    }

    async fn talk(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        let asker = self.check(&request)?.from;
        let (door, traffic) = (self.clone(), self.core.peers.traffic(asker));
        let questions = request.into_inner().take_until(self.closing.clone().cancelled_owned());
        let answers = questions.then(move |question| {
            let (door, traffic) = (door.clone(), traffic.clone());
            async move {
                if door.core.replica.was_removed(asker) {
                    return Err(removed(asker));
                }
                let ask = wire::unframe(&heard(&traffic, question)?)?;
                Ok(said(&traffic, message(&door.answer(asker, ask).await?)))
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn attend(&self, request: Request<Frame>) -> Result<Response<Frames>, Status> {
        self.check(&request)?;
        let hello = message(&Hello { incarnation: self.core.incarnation });
        let open = self.closing.clone().cancelled_owned();
        let first = futures::stream::iter([Ok(hello)]);
        let until_closing = futures::stream::once(open).filter_map(|()| std::future::ready(None));
        Ok(Response::new(Box::pin(first.chain(until_closing))))
    }

    /// Asked by one whom the connection has let in, and who wants to know what it was added as.
    async fn roster(&self, _: Request<Frame>) -> Result<Response<Frame>, Status> {
        let members = members::list(&self.core);
        if members.is_empty() {
            return Err(Status::unavailable("this member waits to be added itself"));
        }
        let (cluster_id, epoch) = (self.core.config.cluster_id, self.core.config.epoch);
        Ok(Response::new(message(&Roster { cluster_id, epoch, members })))
    }
}

/// Counts what came, or that it broke.
fn heard(traffic: &Traffic, frame: Result<Frame, Status>) -> Result<Frame, Status> {
    match &frame {
        Ok(frame) => traffic.received(frame),
        Err(_) => traffic.receive_failed(),
    }
    frame
}

/// Counts what goes.
fn said(traffic: &Traffic, frame: Frame) -> Frame {
    traffic.sent(&frame);
    frame
}

async fn next_piece(
    frames: &mut Streaming<Frame>,
    traffic: &Traffic,
) -> Result<SnapshotPiece, Status> {
    let late = |_| Status::deadline_exceeded("the snapshot's sender is silent");
    let next = tokio::time::timeout(PIECE_WAIT_MAX, frames.message()).await.map_err(late)?;
    let next = next.transpose().map(|frame| heard(traffic, frame)).transpose()?;
    let frame = next.ok_or_else(|| Status::data_loss("the snapshot ended too early"))?;
    Ok(wire::unframe(&frame)?)
}

fn removed(member: MemberId) -> Status {
    Status::permission_denied(format!("member {member} was removed"))
}

fn failed(error: &dyn std::error::Error) -> Status {
    Status::internal(error.to_string())
}
