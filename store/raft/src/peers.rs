//! The dialling side: channels to the other members, and the questions asked over them.
//!
//! Each purpose has a connection of its own, so that no bulk transfer delays a heartbeat.
//!
//! # Invariants
//! - Every RPC has a deadline or keep-alive, every dial a deadline.
//! - [`AskError::NotSent`] is only said when nothing can have reached the other member.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Serialize;
use store_env::net::SharedNetwork;
use store_handle::MemberId;
use store_handle::figures::Exchanged;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::proto::peer_client::PeerClient;
use crate::proto::{self, Frame};
use crate::standing::{self, Said, Standing};
use crate::succession::{self, Succeeded};
use crate::traffic::Traffic;
use crate::types::MemberNode;
use crate::wire::{self, Answer, Ask};

/// Messages are bounded by what one entry and one read of the log may hold.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The whole of one snapshot's transfer and installation.
pub(crate) const SNAPSHOT_DEADLINE_MS: u64 = 30 * 60 * 1_000;

/// The header that says which group this is, and from whom to whom.
pub(crate) const IDENTITY: &str = "trireme-member";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Log,
    Heartbeat,
    Snapshot,
    Ask,
}

/// How long things may take, all following from the heartbeat and the election time-out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) dial: Duration,
    pub(crate) keep_alive_every: Duration,
    pub(crate) keep_alive_timeout: Duration,
}

impl Times {
    pub(crate) fn new(heartbeat_ms: u64, election_min_ms: u64) -> Self {
        Self {
            dial: Duration::from_millis(election_min_ms / 2),
            keep_alive_every: Duration::from_millis(heartbeat_ms * 5),
            keep_alive_timeout: Duration::from_millis(election_min_ms),
        }
    }
}

/// Which group, and which member of it, speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) epoch: u64,
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
}

impl Identity {
    fn header(self) -> MetadataValue<Ascii> {
        let Self { cluster_id, epoch, from, to } = self;
        let text = format!("{cluster_id:016x}.{epoch}.{from}.{to}");
        text.parse().expect("digits and dots are a valid header")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let cluster_id = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut number = || parts.next()?.parse().ok();
        Some(Self { cluster_id, epoch: number()?, from: number()?, to: number()? })
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It did not reach the other member, or was refused unread.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// Where the others are and how to reach them.
#[derive(Debug)]
pub(crate) struct Peers {
    network: SharedNetwork,
    times: Times,
    /// `to` is filled in for each message.
    me: Identity,
    channels: Mutex<BTreeMap<(MemberId, Purpose), (String, Channel)>>,
    nodes: Mutex<BTreeMap<MemberId, MemberNode>>,
    /// Why this member has no place in its group any more, once it has been told.
    succeeded: watch::Sender<Option<Succeeded>>,
    /// What each member's door said last, when it did not let this one in.
    refusals: Mutex<BTreeMap<MemberId, String>>,
    /// Streams for questions that nobody is asking on at the moment.
    idle: Mutex<BTreeMap<MemberId, Vec<Standing>>>,
    /// Members of an earlier version, which have to be called for each question.
    tongue_tied: Mutex<BTreeSet<MemberId>>,
    traffic: Mutex<BTreeMap<MemberId, Arc<Traffic>>>,
}

impl Peers {
    pub(crate) fn new(network: SharedNetwork, times: Times, me: Identity) -> Arc<Self> {
        Arc::new(Self {
            network,
            times,
            me,
            channels: Mutex::default(),
            nodes: Mutex::default(),
            succeeded: watch::Sender::new(None),
            refusals: Mutex::default(),
            idle: Mutex::default(),
            tongue_tied: Mutex::default(),
            traffic: Mutex::default(),
        })
    }

    /// Becomes `Some` when another member says that the group was rebuilt without this one.
    pub(crate) fn succeeded(&self) -> watch::Receiver<Option<Succeeded>> {
        self.succeeded.subscribe()
    }

    /// Looks at why `from` did not answer: what its door says is for the operator to read.
    pub(crate) fn note(&self, from: MemberId, status: &Status) {
        if status.code() != Code::PermissionDenied {
            return;
        }
        let said = status.message().to_owned();
        if succession::is_told_by(status) {
            let told = Succeeded { by: self.address(from).unwrap_or_default(), said: said.clone() };
            self.succeeded.send_if_modified(|known| known.replace(told).is_none());
        }
        if self.refusals.lock().insert(from, said.clone()).as_ref() != Some(&said) {
            tracing::warn!(member = from, said, "another member refuses this one");
        }
    }

    /// Where what is exchanged with `id` is counted.
    pub(crate) fn traffic(&self, id: MemberId) -> Arc<Traffic> {
        self.traffic.lock().entry(id).or_default().clone()
    }

    /// What was exchanged with each member.
    pub(crate) fn exchanged(&self) -> BTreeMap<MemberId, Exchanged> {
        self.traffic.lock().iter().map(|(id, traffic)| (*id, traffic.now())).collect()
    }

    /// Forgets what was exchanged with those who are no members any more.
    pub(crate) fn keep(&self, members: &[MemberId]) {
        self.traffic.lock().retain(|id, traffic| {
            // Somebody still counts in it, for instance of a member that is not known here yet.
            members.contains(id) || Arc::strong_count(traffic) > 1
        });
    }

    pub(crate) fn times(&self) -> Times {
        self.times
    }

    /// Notes where members are. What is said last holds.
    pub(crate) fn learn(&self, id: MemberId, node: &MemberNode) {
        let mut nodes = self.nodes.lock();
        if nodes.get(&id) != Some(node) {
            nodes.insert(id, node.clone());
            // They may lead to where it was before.
            self.idle.lock().remove(&id);
        }
    }

    pub(crate) fn address(&self, id: MemberId) -> Option<String> {
        self.nodes.lock().get(&id).map(|node| node.peer_address.clone())
    }

    /// Whether the machine of `id` answers and nobody listens there any more.
    pub(crate) async fn is_refused(&self, id: MemberId) -> bool {
        let Some(address) = self.address(id) else { return false };
        let dial = self.network.dial(&address);
        match tokio::time::timeout(self.times.dial, dial).await {
            Ok(Err(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// A client of `to`, over the connection for `purpose`. Must be called on this member's runtime.
    pub(crate) fn client(
        &self,
        to: MemberId,
        purpose: Purpose,
    ) -> Result<PeerClient<Channel>, AskError> {
        let unknown = || AskError::NotSent(format!("the address of member {to} is not known"));
        let address = self.address(to).ok_or_else(unknown)?;
        let mut channels = self.channels.lock();
        let channel = match channels.get(&(to, purpose)) {
            Some((known, channel)) if *known == address => channel.clone(),
            _ => {
                let channel = channel(self.network.clone(), self.times, &address)?;
                channels.insert((to, purpose), (address, channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Signs a message to `to`.
    pub(crate) fn sign<T>(&self, to: MemberId, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(IDENTITY, Identity { to, ..self.me }.header());
        request
    }

    /// Asks `to`, and waits for the answer at most so long.
    pub(crate) async fn ask(
        &self,
        to: MemberId,
        ask: &Ask,
        within: Duration,
    ) -> Result<Answer, AskError> {
        let reply = tokio::time::timeout(within, self.say(to, wire::frame(ask))).await;
        let late = |_| AskError::NoAnswer(format!("member {to} did not answer in {within:?}"));
        let frame = reply.map_err(late).flatten().inspect_err(|_| {
            self.traffic(to).send_failed();
        })?;
        wire::unframe(&frame).map_err(|error| AskError::NoAnswer(error.to_string()))
    }

    async fn say(&self, to: MemberId, question: Frame) -> Result<Frame, AskError> {
        let mut standing = match self.take_idle(to) {
            Some(standing) => standing,
            None => match self.talk(to).await? {
                Some(standing) => standing,
                None => {
                    let (mut client, traffic) = (self.client(to, Purpose::Ask)?, self.traffic(to));
                    traffic.sent(&question);
                    let asked = client.ask(self.sign(to, question)).await;
                    return asked
                        .map(Response::into_inner)
                        .inspect(|answer| traffic.received(answer))
                        .map_err(|status| self.refused(to, &status));
                }
            },
        };
        match standing.ask(question).await {
            Said::Answer(answer) => {
                self.idle.lock().entry(to).or_default().push(standing);
                Ok(answer)
            }
            Said::Nothing => Err(AskError::NotSent(format!("member {to} is closing"))),
            Said::Broken(status) if status.code() == Code::PermissionDenied => {
                self.note(to, &status);
                Err(AskError::NotSent(status.to_string()))
            }
            Said::Broken(status) => Err(AskError::NoAnswer(status.to_string())),
        }
    }

    fn refused(&self, by: MemberId, status: &Status) -> AskError {
        self.note(by, status);
        classify(status)
    }

    fn take_idle(&self, to: MemberId) -> Option<Standing> {
        let mut idle = self.idle.lock();
        let streams = idle.get_mut(&to)?;
        streams.retain(|standing| !standing.is_over());
        streams.pop()
    }

    /// Opens a stream for questions; `None` if `to` knows none.
    async fn talk(&self, to: MemberId) -> Result<Option<Standing>, AskError> {
        if self.tongue_tied.lock().contains(&to) {
            return Ok(None);
        }
        let (sender, questions) = standing::questions();
        match self.client(to, Purpose::Ask)?.talk(self.sign(to, questions)).await {
            Ok(response) => {
                Ok(Some(Standing::new(sender, response.into_inner(), self.traffic(to))))
            }
            Err(status) if status.code() == Code::Unimplemented => {
                self.tongue_tied.lock().insert(to);
                Ok(None)
            }
            // Nothing has been asked yet.
            Err(status) => {
                self.note(to, &status);
                Err(AskError::NotSent(status.to_string()))
            }
        }
    }

    /// Waits until `to` is connected; the stream then ends when its process does.
    pub(crate) async fn attend(
        &self,
        to: MemberId,
    ) -> Result<(wire::Hello, tonic::Streaming<Frame>), AskError> {
        let mut client = self.client(to, Purpose::Ask)?;
        let request = self.sign(to, proto::Frame::default());
        let greeting = async {
            let mut stream = client.attend(request).await?.into_inner();
            let first = stream.message().await?;
            let first = first.ok_or_else(|| Status::unavailable("ended before it began"))?;
            Ok::<_, Status>((wire::unframe(&first)?, stream))
        };
        let late = |_| AskError::NoAnswer(format!("member {to} did not say hello"));
        let greeted = tokio::time::timeout(self.times.dial, greeting).await.map_err(late)?;
        greeted.map_err(|status| {
            self.note(to, &status);
            classify(&status)
        })
    }
}

/// A connection to `address`, made when it is first used and again whenever it broke.
pub(crate) fn channel(
    network: SharedNetwork,
    times: Times,
    address: &str,
) -> Result<Channel, AskError> {
    let invalid = |error: tonic::transport::Error| AskError::NotSent(error.to_string());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(invalid)?;
    let address = address.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let dial = network.dial(&address);
        async move {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let stream = tokio::time::timeout(times.dial, dial).await.map_err(late)??;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Ok(endpoint
        .http2_keep_alive_interval(times.keep_alive_every)
        .keep_alive_timeout(times.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(4 << 20)
        .connect_with_connector_lazy(connector))
}

/// Whether the other member can have seen the question.
pub(crate) fn classify(status: &Status) -> AskError {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    // What the other's door refuses was not looked at.
    let is_refused = matches!(status.code(), Code::PermissionDenied | Code::Unimplemented);
    let mut source = status.source();
    let mut is_unsent = false;
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        is_unsent |= error.is::<tonic::ConnectError>();
        // On HTTP/2 hyper says so only of requests that were still waiting when the connection closed.
        is_unsent |= error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        source = error.source();
    }
    if is_refused || is_unsent { AskError::NotSent(text) } else { AskError::NoAnswer(text) }
}

/// One message for a stream.
pub(crate) fn message<T: Serialize>(value: &T) -> Frame {
    wire::frame(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_its_header() {
        let identity = Identity { cluster_id: 0xfeed, epoch: 3, from: 1, to: 2 };
        assert_eq!(Identity::parse(identity.header().to_str().unwrap()), Some(identity));
        for strange in ["", "xyz.1.1.1", "1.1.1", "1.1.1.-1"] {
            assert_eq!(Identity::parse(strange), None, "{strange:?}");
        }
    }
}
