//! What members ask each other, besides the streams: one question, one answer.

use std::io;

use bytes::Bytes;
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store_handle::{Alarms, Command, Error, Member, MemberId, Reply, Revision};
use store_mvcc::codec;

use crate::hashes::{Sum, Verdict};
use crate::proto::Frame;
use crate::types::{SnapshotMeta, TypeConfig, Vote};

/// A question. A new variant goes to the end: the number of each is its place.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// Commands proposed by a follower's clients: to the leader.
    Propose(Vec<Command>),
    /// To the leader: what must be applied before a read may be answered?
    ReadIndex,
    /// To the leader.
    Change(Change),
    /// To the leader: hand over to this member, or to any other.
    HandOver(Option<MemberId>),
    /// Has the process of this member, whom I take to lead, ended as far as you can tell?
    IsGone(MemberId),
    /// As `ReadIndex`, from one whose vote, read after its readers came, is this: it counts as one of the quorum.
    ReadIndexWith(Vote),
    /// This is wrong with me; what is wrong with you?
    Alarms(Alarms),
    /// What is the checksum of what you hold as of this revision?
    Hash(Revision),
    /// What a comparison of checksums has shown.
    Verdict(Verdict),
}

/// A change of the members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Add(Member),
    Remove(MemberId),
    Promote(MemberId),
}

/// An answer, to the question of the same name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Vote(VoteResponse<TypeConfig>),
    PreVote(VoteResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
    Propose(Vec<Outcome>),
    /// To `ReadIndexWith`, too.
    ReadIndex(Result<u64, String>),
    Change(Result<(), Undone>),
    HandOver(Result<(), Undone>),
    /// `None` if it is stopping.
    IsGone(Option<View>),
    Alarms(Alarms),
    Hash(Result<Sum, String>),
    Verdict,
}

/// How a member sees another one, and what it would bring as a leader in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) is_gone: bool,
    /// Of its vote: beyond the leader's once somebody stands for election.
    pub(crate) term: u64,
    /// Term and index of its last entry.
    pub(crate) last_log: (u64, u64),
}

/// What became of one forwarded command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Applied by the leader, in the entry of this index.
    Done {
        index: u64,
        reply: Result<Reply, Error>,
    },
    Undone(Undone),
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Undone {
    /// Nothing was done; may be asked again, of whoever leads then.
    NotLeader,
    /// Nothing was done, and asking again changes nothing.
    Never(String),
    /// It may have been done.
    Unknown(String),
}

/// The pieces of a snapshot on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotPiece {
    Head {
        vote: Vote,
        meta: SnapshotMeta,
    },
    Records(Vec<(Vec<u8>, Vec<u8>)>),
    /// How many records there were.
    End {
        records: u64,
    },
}

/// The first thing heard of a member that is attended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Drawn when its process started: another one means that the old process is gone.
    pub(crate) incarnation: u64,
}

pub(crate) fn frame<T: Serialize>(value: &T) -> Frame {
    Frame { data: Bytes::from(codec::encode(value)) }
}

pub(crate) fn unframe<T: DeserializeOwned>(frame: &Frame) -> io::Result<T> {
    codec::decode(&frame.data).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests;
