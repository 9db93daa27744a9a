//! The words of the store: what can be asked of it, and what it answers.
//!
//! Names and meanings follow etcd's v3 API (`api/etcdserverpb/rpc.proto`), so that its clients can be
//! served over this crate without translation of semantics.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Position in history: every operation that writes takes the next one; the empty store is at 1.
pub type Revision = i64;

/// A Raft term, in which at most one member leads.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(pub u64);

/// A lease's number; 0 means none.
pub type LeaseId = i64;

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a tombstone.
    pub value: Bytes,
    /// The revision at which the key last came into being; 0 in a tombstone.
    pub create_revision: Revision,
    /// The revision of this version.
    pub mod_revision: Revision,
    /// 1 for a new key, one more for every put since; 0 in a tombstone.
    pub version: i64,
    /// The lease that keeps the key alive, or 0.
    pub lease: LeaseId,
}

/// A single key, or keys from `start` (included) to `end` (excluded).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// Empty: only `start`. A single zero byte: every key from `start` on.
    pub end: Bytes,
}

impl KeyRange {
    /// Just this key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: Bytes::new() }
    }

    /// Every key that begins with `prefix`; the empty prefix means all keys.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return Self { start, end: end.into() };
            }
        }
        let start = if start.is_empty() { Bytes::from_static(&[0]) } else { start };
        Self { start, end: Bytes::from_static(&[0]) }
    }

    /// Whether the range names one key only.
    pub fn is_single(&self) -> bool {
        self.end.is_empty()
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            return key == self.start;
        }
        key >= &self.start[..] && (self.end[..] == [0] || key < &self.end[..])
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// What of a key is compared, and with what. A missing key has version, revisions and lease 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Version(i64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Lease(LeaseId),
    /// A missing key fails every comparison of its value.
    Value(Bytes),
}

/// A condition; over a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    pub range: KeyRange,
    pub order: Order,
    pub target: Target,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortBy {
    #[default]
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// A read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRequest {
    pub range: KeyRange,
    /// At most so many keys; 0 means all.
    pub limit: i64,
    /// As of this revision; 0 means the latest.
    pub revision: Revision,
    pub sort_by: SortBy,
    pub descending: bool,
    pub keys_only: bool,
    pub count_only: bool,
    /// Inclusive bounds; 0 means none.
    pub min_mod_revision: Revision,
    pub max_mod_revision: Revision,
    pub min_create_revision: Revision,
    pub max_create_revision: Revision,
}

/// What a range found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReply {
    /// The store's revision when it was read.
    pub revision: Revision,
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut keys off.
    pub more: bool,
    /// How many keys the range holds, whatever the limit.
    pub count: i64,
}

/// A write of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    pub key: Bytes,
    pub value: Bytes,
    pub lease: LeaseId,
    pub prev_kv: bool,
    /// Keep the value that is there; refused if the key is missing.
    pub ignore_value: bool,
    /// Keep the lease that is there; refused if the key is missing.
    pub ignore_lease: bool,
}

/// A deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    pub range: KeyRange,
    pub prev_kv: bool,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRequest),
    Txn(Txn),
}

/// What one step answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpReply {
    Range(RangeReply),
    Put { prev: Option<KeyValue> },
    Delete { deleted: i64, prev: Vec<KeyValue> },
    Txn(TxnReply),
}

/// If all comparisons hold, the `success` steps, else the `failure` steps, as one atomic revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

/// What a transaction answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    /// Which branch ran.
    pub succeeded: bool,
    /// The store's revision after it: its own if it wrote anything.
    pub revision: Revision,
    pub replies: Vec<OpReply>,
}

/// A lease's remaining time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    pub id: LeaseId,
    pub granted_ttl_s: i64,
    /// When it ends unless it is renewed, by the log's own time, which calendars do not set; 0 if there is none.
    pub due_ms: u64,
    /// -1 if there is no such lease.
    pub remaining_ttl_s: i64,
    pub keys: Vec<Bytes>,
}

impl LeaseInfo {
    /// The same, when it is so late in the log.
    #[must_use]
    pub fn at(self, now_ms: u64) -> Self {
        if self.remaining_ttl_s < 0 {
            return self;
        }
        let left_s = self.due_ms.saturating_sub(now_ms) / 1000;
        Self { remaining_ttl_s: i64::try_from(left_s).unwrap_or(i64::MAX), ..self }
    }
}

/// One operation of the log, before it is given its revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A transaction; a lone put, delete or fenced write is one too.
    Txn(Txn),
    /// `id` 0 lets the state machine choose one.
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        id: LeaseId,
    },
    /// Starts the lease's time to live again.
    LeaseKeepAlive {
        id: LeaseId,
    },
    /// Proposed by the leader: revokes those of `ids` whose time really is up.
    LeaseExpire {
        ids: Vec<LeaseId>,
    },
    Compact {
        revision: Revision,
    },
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Txn(TxnReply),
    LeaseGranted {
        revision: Revision,
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoked {
        revision: Revision,
    },
    /// `ttl_s` 0: there is no such lease.
    LeaseKeptAlive {
        revision: Revision,
        ttl_s: i64,
    },
    LeasesExpired {
        revision: Revision,
        count: usize,
    },
    Compacted {
        revision: Revision,
    },
}

/// A command as it stands in the log: with the term it is fenced to, if any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fenced {
    /// `apply` refuses the command unless the entry that carries it is of this very term.
    pub fence: Option<Term>,
    pub command: Command,
}

/// One log entry's payload: commands proposed together, and the proposer's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Milliseconds since the Unix epoch by the proposing leader's clock; the state machine takes the
    /// maximum of all it has seen, so that its time never goes back.
    pub now_ms: u64,
    pub commands: Vec<Fenced>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key. A deletion's `kv` holds key and `mod_revision` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub kv: KeyValue,
    /// The version that this one replaced.
    pub prev: Option<KeyValue>,
}

/// Everything one revision changed, in the order of its writes; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    pub events: Arc<[Event]>,
}

/// Refusals decided while applying, equal on every member; anything else is a bug and panics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    #[error("revision {asked} is compacted; the oldest is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked} is in the future; the latest is {latest}")]
    FutureRevision { asked: Revision, latest: Revision },
    #[error("key not found")]
    KeyNotFound,
    #[error("key is empty")]
    EmptyKey,
    #[error("value or lease given together with the order to ignore it")]
    ValueOrLeaseProvided,
    #[error("a transaction may write a key only once")]
    DuplicateKey,
    #[error("lease {id:x} not found")]
    LeaseNotFound { id: LeaseId },
    #[error("lease {id:x} exists already")]
    LeaseExists { id: LeaseId },
    #[error("time to live of {ttl_s} s is out of bounds")]
    LeaseTtlOutOfBounds { ttl_s: i64 },
    /// The proposer no longer leads: its term is not the entry's.
    #[error("fenced: proposed in term {}, applied in term {}", proposed.0, applied.0)]
    Fenced { proposed: Term, applied: Term },
}
