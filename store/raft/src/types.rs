//! openraft's types as this crate fills them in. No other crate names openraft.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use openraft::alias;
use serde::{Deserialize, Serialize};
use store_handle::{Error, Member, MemberId, Reply};

use crate::machine::Machine;
use crate::runtime::Runtime;

/// What one entry carries: an encoded batch of commands. Encoded once, by its proposer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// What applying one entry answered: one reply a command, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub Vec<Result<Reply, Error>>);

/// What the group knows of a member besides its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberNode {
    pub name: String,
    pub peer_address: String,
    pub labels: BTreeMap<String, String>,
}

impl MemberNode {
    /// As `store_handle` shows it.
    pub fn to_member(&self, id: MemberId, is_voter: bool) -> Member {
        Member {
            id,
            name: self.name.clone(),
            peer_address: self.peer_address.clone(),
            labels: self.labels.clone(),
            is_voter,
        }
    }
}

impl From<&Member> for MemberNode {
    fn from(member: &Member) -> Self {
        Self {
            name: member.name.clone(),
            peer_address: member.peer_address.clone(),
            labels: member.labels.clone(),
        }
    }
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Proposal,
        R = Replies,
        NodeId = MemberId,
        Node = MemberNode,
        // At most one leader a term, as in the Raft paper.
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, MemberId>,
        AsyncRuntime = Runtime,
);

pub type Raft = openraft::Raft<TypeConfig, Machine>;
pub type Entry = alias::EntryOf<TypeConfig>;
pub type EntryPayload = alias::EntryPayloadOf<TypeConfig>;
pub type LogId = alias::LogIdOf<TypeConfig>;
pub type Vote = alias::VoteOf<TypeConfig>;
pub type CommittedLeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub type Membership = alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = alias::SnapshotOf<TypeConfig, crate::snapshot::SnapshotData>;
pub type Metrics = openraft::RaftMetrics<TypeConfig>;

/// The members of a membership, voters and learners.
pub fn members_of(membership: &Membership) -> Vec<Member> {
    let voters: std::collections::BTreeSet<MemberId> = membership.voter_ids().collect();
    let nodes = membership.membership().nodes();
    nodes.map(|(id, node)| node.to_member(*id, voters.contains(id))).collect()
}
