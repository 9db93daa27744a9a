//! The store as its users see it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store_mvcc::types::{
    Command, Error, Event, KeyRange, LeaseId, LeaseInfo, RangeReply, RangeRequest, Reply, Revision,
    Term,
};

use crate::watcher::Watcher;

/// A member's number, unique for the life of the cluster.
pub type MemberId = u64;

/// Why a proposal has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The state machine refused it, on every member alike.
    #[error(transparent)]
    Refused(#[from] Error),
    /// It is certain that nothing was done: safe to send again.
    #[error("not proposed: {reason}")]
    NotProposed { reason: String },
    /// Nothing was done, and nothing that grows will be until there is room again ([`crate::room`]).
    #[error("no space: {reason}")]
    NoSpace { reason: String },
    /// It may have been done, or may yet be: sending it again could do it twice.
    #[error("outcome unknown: {reason}")]
    Unknown { reason: String },
}

/// Why a read has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Refused(#[from] Error),
    /// No quorum confirmed the read index in time.
    #[error("no quorum: {reason}")]
    NoQuorum { reason: String },
    /// A stored record that the answer needs is damaged, or the disk does not give it. It is named.
    #[error("{reason}")]
    Unreadable { reason: String },
}

impl From<store_mvcc::Unreadable> for ReadError {
    fn from(unreadable: store_mvcc::Unreadable) -> Self {
        Self::Unreadable { reason: unreadable.to_string() }
    }
}

/// Where a watch begins and what it sees.
#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    pub range: KeyRange,
    /// The first revision to see; 0 means only what is still to come.
    pub start: Revision,
}

/// What a watcher receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem {
    /// All events of one revision that the watcher's range holds, in order; never split.
    /// Shared by every watcher of the same range that sees it.
    Events { revision: Revision, events: Arc<[Event]> },
    /// Everything up to this revision has been delivered.
    Progress { revision: Revision },
    /// The history the watcher needs is gone: it ends here and must start again from a fresh read.
    Compacted { oldest: Revision },
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: Term,
    /// The leader of `term`, if known.
    pub leader: Option<MemberId>,
    /// Set only when this member leads `term`, has applied all that was committed before it, and has
    /// heard from a quorum within its lease.
    pub leads: bool,
}

/// A member's part in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
}

/// The label of a learner that is not promoted by itself, but by [`MembershipChange::Promote`].
pub const STAYS_LEARNER: &str = "stays-learner";

/// One member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    pub name: String,
    /// Where the others reach it for Raft: `host:port`.
    pub peer_address: String,
    /// What it publishes about itself, for instance `api` → `https://10.88.0.1:6443`.
    pub labels: BTreeMap<String, String>,
    pub is_voter: bool,
}

/// This member's own account of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub id: MemberId,
    pub cluster_id: u64,
    pub role: Role,
    pub term: u64,
    pub leader: Option<MemberId>,
    pub last_log_index: u64,
    pub applied_index: u64,
    pub revision: Revision,
    /// 99th percentile of the log's sync, in milliseconds, over the last minutes.
    pub sync_p99_ms: f64,
    /// On the leader: the last log index known to be on each member.
    pub matched: BTreeMap<MemberId, u64>,
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// Its disk is nearly full, or its quota used up.
    pub no_space: bool,
    /// Its state differs from that of the majority: it must be replaced.
    pub is_corrupt: bool,
    /// Members differ, and no majority agrees: none of them can be trusted.
    pub is_in_doubt: bool,
}

impl Alarms {
    /// Whether nothing is wrong.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A checksum of what the store holds: equal on members that have applied and forgotten the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Over every version of every key up to `revision` that is still there.
    pub crc32: u32,
    pub revision: Revision,
    pub compacted: Revision,
}

/// Everything the store holds at one moment, to be read while writes go on.
pub trait Export: Debug + Send + 'static {
    /// The next records in key order, about `bytes_max` of them; none at the end. May read a disk.
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;
}

/// A change of the group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Adds a learner; the leader promotes it once it has caught up, unless it is labelled
    /// [`STAYS_LEARNER`]. A member that is there already gets what is new about it.
    Add(Member),
    /// A member removed never comes back under the same id.
    Remove(MemberId),
    /// Makes a voter of a learner; not done while it lags.
    Promote(MemberId),
}

/// A consensus store: linearizable transactions and reads, watches, leases, leadership.
///
/// Every method may be called on every member. None is ever answered from a time-based lease.
pub trait Handle: Send + Sync + Debug + 'static {
    /// Proposes one command and waits until *this* member has applied it.
    ///
    /// With a `fence`, it is refused unless applied in that very term, and never forwarded to
    /// another member: `NotProposed` if this member does not lead.
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>>;

    /// Proposes several commands at once, each of them on its own; one outcome for each, in order.
    /// Cheaper than as many calls: nobody is woken before all of them have one.
    fn propose_many(
        &self,
        commands: Vec<Command>,
    ) -> BoxFuture<'_, Vec<Result<Reply, ProposeError>>> {
        let each = commands.into_iter().map(|command| self.propose(command, None));
        Box::pin(futures::future::join_all(each))
    }

    /// Waits until everything acknowledged before the call is applied here; returns the revision.
    fn read_index(&self) -> BoxFuture<'_, Result<Revision, ReadError>>;

    /// Reads local state, as it is. Linearizable only after [`Handle::read_index`].
    fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError>;

    /// The revision applied here.
    fn revision(&self) -> Revision;

    /// The oldest revision that can still be read.
    fn compacted(&self) -> Revision;

    /// Starts a watch. `ReadError::Refused(Compacted)` if `start` is no longer in history.
    fn watch(&self, request: WatchRequest) -> Result<Watcher, ReadError>;

    /// A lease's time and keys, from local state.
    fn lease(&self, id: LeaseId) -> LeaseInfo;

    /// All leases, from local state.
    fn leases(&self) -> Vec<LeaseId>;

    /// A checksum of the contents as of `revision`; 0 means now. Takes as long as there is much to read.
    fn hash(&self, revision: Revision) -> Result<Hash, ReadError>;

    /// Everything that this member holds.
    fn export(&self) -> io::Result<Box<dyn Export>>;

    /// Who leads; changes are seen in order, and the latest is always there.
    fn leadership(&self) -> tokio::sync::watch::Receiver<Leadership>;

    /// What is wrong with which member, as far as this one knows; every change is seen.
    fn alarms(&self) -> tokio::sync::watch::Receiver<BTreeMap<MemberId, Alarms>> {
        // Of a store that watches neither disks nor hashes there is nothing to tell.
        tokio::sync::watch::channel(BTreeMap::new()).1
    }

    /// The group's members as applied here.
    fn members(&self) -> Vec<Member>;

    /// Changes the group. Forwarded to the leader.
    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// Asks the leader to hand over to `to`, or to any other voter.
    fn transfer_leadership(&self, to: Option<MemberId>) -> BoxFuture<'_, Result<(), ProposeError>>;

    /// This member's account of itself.
    fn status(&self) -> Status;
}

/// How long a proposal or read waits for a leader before it gives up, unless told otherwise.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
