//! What a member is told when it starts; complete and checked before anything is opened.

use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use store_env::clock::SharedClock;
use store_env::net::SharedNetwork;
use store_handle::Member;
use store_mvcc::codec::{self, FormatVersion};

use crate::disk::{LogDisk, StateDisk};

/// A member's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The same in all members of a group, and in no other group.
    pub cluster_id: u64,
    /// Another one each time the group is rebuilt, from a snapshot or after the loss of its quorum: members of
    /// before are refused.
    pub epoch: u64,
    /// The epochs before, of which this member knows: whoever still lives in one of them is told to stop.
    pub former_epochs: Vec<u64>,
    /// This member. `is_voter` means nothing here.
    pub member: Member,
    /// Where to listen for the others; `member.peer_address` is where they dial.
    pub listen: String,
    /// Further addresses to listen on.
    pub listen_also: Vec<String>,
    /// What to do if this member has no log yet.
    pub start: Start,
    pub heartbeat_ms: u64,
    /// A follower that has heard nothing of its leader for 1.2 to 1.4 times that stands for election.
    pub election_min_ms: u64,
    /// How long a leader that hears from no quorum is taken to lead.
    pub election_max_ms: u64,
    /// The state is flushed, so that the log can be purged, after so many entries.
    pub snapshot_entries: u64,
    /// Entries kept in the log for members that lag, although they are in a snapshot.
    pub keep_entries: u64,
    /// The log is purged down to so many bytes when it is twice as long, however few its entries.
    pub log_bytes: u64,
    /// Bytes of values that the state keeps in memory, at most; the others are read from its disk.
    /// `None` keeps all latest ones.
    pub cache_bytes: Option<usize>,
    /// The latest version of entries that this member reads. The group writes the latest that all of its
    /// members read.
    pub reads_format: FormatVersion,
    /// What takes longer to be applied is slow.
    pub slow_apply: Duration,
    /// Threads for the disks and for applying; without, all of it happens in line (simulations).
    pub threads: bool,
}

/// How a member without a log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Founds the group with these members, itself among them; each of them is given the same list.
    Found(Vec<Member>),
    /// Waits until a leader adds it.
    Join,
}

/// What a member is given to work with.
#[derive(Clone, Debug)]
pub struct Deps {
    pub network: SharedNetwork,
    pub clock: SharedClock,
    pub log: Arc<dyn LogDisk>,
    pub state: Arc<dyn StateDisk>,
}

impl Config {
    /// A member with the usual times.
    pub fn new(cluster_id: u64, member: Member, start: Start) -> Self {
        Self {
            cluster_id,
            epoch: 1,
            former_epochs: Vec::new(),
            listen: member.peer_address.clone(),
            listen_also: Vec::new(),
            member,
            start,
            heartbeat_ms: 100,
            election_min_ms: 1_000,
            election_max_ms: 2_000,
            snapshot_entries: 10_000,
            keep_entries: 5_000,
            log_bytes: 64 << 20,
            cache_bytes: None,
            reads_format: codec::VERSION,
            slow_apply: Duration::from_millis(100),
            threads: true,
        }
    }

    pub(crate) fn to_openraft(&self) -> Result<openraft::Config, StartError> {
        let invalid = |reason: String| StartError::Config { reason };
        if self.member.id == 0 {
            return Err(invalid("a member's id is at least 1".into()));
        }
        if let Start::Found(members) = &self.start
            && !members.iter().any(|member| member.id == self.member.id)
        {
            let reason = format!("member {} is not among the founders", self.member.id);
            return Err(invalid(reason));
        }
        // To openraft, a follower waits for the lease to end, which is the upper bound, and then for a random
        // time between the bounds. The lower one is also what an election may take, two syncs after each other
        // included, before the next one begins; and it must leave room for two heartbeats.
        let wait_ms = (self.election_min_ms / 2).max(self.heartbeat_ms * 9 / 4);
        let lease_ms = self.election_min_ms * 7 / 10;
        let config = openraft::Config {
            cluster_name: format!("{:016x}", self.cluster_id),
            heartbeat_interval: self.heartbeat_ms,
            heartbeat_min_interval: Some(self.heartbeat_ms),
            election_timeout_min: wait_ms,
            election_timeout_max: lease_ms,
            install_snapshot_timeout: crate::peers::SNAPSHOT_DEADLINE_MS,
            max_payload_entries: 1_024,
            replication_lag_threshold: self.snapshot_entries * 2,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: 1_000.min(self.keep_entries.max(1)),
            // A member that cannot win must not raise the term of those who do well without it.
            enable_pre_vote: Some(true),
            // A leader that restarts has lost the state that it had not flushed: it must be elected anew.
            enable_leader_restore: Some(false),
            // Else a one-way partition lets a leader that hears nobody keep others from electing.
            quorum_loss_probe_interval: Some(2 * self.election_max_ms),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| invalid(error.to_string()))
    }
}

/// What to do with a member whose data is damaged, or not of the group any more.
pub const REPLACE: &str = "a member must not go on with such data: remove it from its group, empty its data \
    directory, and add it again as a new one; if no other member is left, restore a snapshot";

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("invalid configuration: {reason}")]
    Config { reason: String },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error("the log cannot be read: {0}; {REPLACE}")]
    Log(std::io::Error),
    #[error("the state cannot be read: {0}; {REPLACE}")]
    State(std::io::Error),
    #[error("Raft did not start: {reason}")]
    Raft { reason: String },
}
