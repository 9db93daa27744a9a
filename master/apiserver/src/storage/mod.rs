//! The one user of the store's handle: objects in, transactions out.
//!
//! A write is one transaction: the object on the condition that it is as the writer saw it, the claims
//! that come with it (an IP address, a node port) on the condition that nobody has them.
//!
//! # Path
//! `rest/<verb>.rs` → here → `store::Handle::propose`
//!
//! # Invariants
//! - Every write carries the fence of its request, if it has one.

pub mod error;
mod lease;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use master_api::status::ApiError;
use master_registry::Companion;
use store_env::clock::SharedClock;
use store_handle::{
    Command, Compare, DeleteRequest, Error, Handle, KeyRange, KeyValue, Op, OpReply, Order,
    ProposeError, PutRequest, RangeReply, RangeRequest, Reply, Revision, Target, Term, Txn,
    TxnReply, WatchRequest, Watcher,
};

use crate::cacher::ROOT;
use error::{propose_error, read_error};

/// How long a read waits until this master has caught up.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// How long a write may take, everything included.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Objects' way into the store.
#[derive(Debug)]
pub struct Storage {
    handle: Arc<dyn Handle>,
    leases: lease::Leases,
}

/// One write.
#[derive(Debug)]
pub struct Write<'a> {
    /// The whole key.
    pub key: &'a str,
    /// The revision the object must be at; 0: it must not be there.
    pub expected: Revision,
    /// The stored form; `None` deletes.
    pub value: Option<&'a Bytes>,
    /// How long the object is to live, if not for ever.
    pub ttl_s: Option<i64>,
    pub companions: &'a [Companion],
    /// The quotas that are charged with what is written.
    pub charged: Option<&'a Charged>,
    /// The term in which alone the write may happen.
    pub fence: Option<Term>,
}

/// Objects of a range that are written with another one, if none in the range is newer than what they were
/// judged from.
#[derive(Clone, Debug)]
pub struct Charged {
    /// Where they are, and everything that could have been overlooked.
    pub prefix: String,
    /// The revision of the memory that was judged from.
    pub seen: Revision,
    /// Keys and values to write.
    pub puts: Vec<(String, Bytes)>,
}

/// What became of a write.
#[derive(Debug)]
pub enum Outcome {
    /// Done, at this revision.
    Done(Revision),
    /// The object is not as expected; this is what it is.
    Changed(Option<KeyValue>),
    /// Somebody else has what was to be claimed, or a quota has changed.
    ClaimTaken,
}

/// The store's key of an object.
pub fn store_key(table: &str, object_key: &str) -> String {
    format!("{ROOT}{table}/{object_key}")
}

impl Storage {
    /// Storage over a handle.
    pub fn new(handle: Arc<dyn Handle>, clock: SharedClock) -> Self {
        Self { handle, leases: lease::Leases::new(clock) }
    }

    /// The revision that a read has to wait for, so that it sees all that was acknowledged before.
    pub async fn read_index(&self) -> Result<Revision, ApiError> {
        match tokio::time::timeout(CATCH_UP_MAX, self.handle.read_index()).await {
            Ok(reply) => reply.map_err(read_error),
            Err(_) => Err(ApiError::Unavailable("the store did not confirm a read in time".into())),
        }
    }

    /// Objects as of an earlier revision.
    pub fn history(&self, request: &RangeRequest) -> Result<RangeReply, ApiError> {
        self.handle.range(request).map_err(read_error)
    }

    /// Changes from a revision of the past on.
    pub fn watch(&self, request: WatchRequest) -> Result<Watcher, ApiError> {
        self.handle.watch(request).map_err(read_error)
    }

    /// Writes, or says what stands against it.
    pub async fn write(&self, write: &Write<'_>) -> Result<Outcome, ApiError> {
        match tokio::time::timeout(WRITE_MAX, self.write_leased(write)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(propose_error(ProposeError::Unknown { reason: "no answer in time".into() }))
            }
        }
    }

    async fn write_leased(&self, write: &Write<'_>) -> Result<Outcome, ApiError> {
        let Some(ttl_s) = write.ttl_s else { return self.propose(write, 0).await };
        let handle = &*self.handle;
        let lease = self.leases.lease(handle, ttl_s, false).await.map_err(propose_error)?;
        match self.try_propose(write, lease).await {
            Err(ProposeError::Refused(Error::LeaseNotFound { .. })) => {
                let lease = self.leases.lease(handle, ttl_s, true).await.map_err(propose_error)?;
                self.propose(write, lease).await
            }
            outcome => outcome.map_err(propose_error),
        }
    }

    async fn propose(&self, write: &Write<'_>, lease: i64) -> Result<Outcome, ApiError> {
        self.try_propose(write, lease).await.map_err(propose_error)
    }

    async fn try_propose(&self, write: &Write<'_>, lease: i64) -> Result<Outcome, ProposeError> {
        let command = Command::Txn(transaction(write, lease));
        match self.handle.propose(command, write.fence).await? {
            Reply::Txn(reply) => Ok(outcome(write, reply)),
            other => unreachable!("a transaction is answered by one, not by {other:?}"),
        }
    }
}

fn transaction(write: &Write<'_>, lease: i64) -> Txn {
    let key = Bytes::copy_from_slice(write.key.as_bytes());
    let equals = |range, target| Compare { range, order: Order::Equal, target };
    let mut compare = vec![equals(KeyRange::key(key.clone()), Target::ModRevision(write.expected))];
    let put =
        |key, value, lease| Op::Put(PutRequest { key, value, lease, ..PutRequest::default() });
    let delete = |key| Op::Delete(DeleteRequest { range: KeyRange::key(key), prev_kv: false });
    let mut success = vec![match write.value {
        Some(value) => put(key.clone(), value.clone(), lease),
        None => delete(key.clone()),
    }];
    for companion in write.companions {
        match companion {
            Companion::Claim { key, value } => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                compare.push(equals(KeyRange::key(key.clone()), Target::Version(0)));
                success.push(put(key, value.clone(), 0));
            }
            Companion::Guard { key, revision } => {
                let key = Bytes::copy_from_slice(key.as_bytes());
                compare.push(equals(KeyRange::key(key), Target::ModRevision(*revision)));
            }
            Companion::ReleaseAll { prefix } => {
                let range = KeyRange::prefix(prefix.clone().into_bytes());
                success.push(Op::Delete(DeleteRequest { range, prev_kv: false }));
            }
            Companion::Release { key } => {
                success.push(delete(Bytes::copy_from_slice(key.as_bytes())))
            }
        }
    }
    if let Some(charged) = write.charged {
        let range = KeyRange::prefix(charged.prefix.clone().into_bytes());
        let target = Target::ModRevision(charged.seen + 1);
        compare.push(Compare { range, order: Order::Less, target });
        let puts = charged.puts.iter();
        success.extend(puts.map(|(key, value)| put(key.clone().into(), value.clone(), 0)));
    }
    let look = RangeRequest { range: KeyRange::key(key), ..RangeRequest::default() };
    Txn { compare, success, failure: vec![Op::Range(look)] }
}

fn outcome(write: &Write<'_>, reply: TxnReply) -> Outcome {
    if reply.succeeded {
        return Outcome::Done(reply.revision);
    }
    let current = match reply.replies.into_iter().next() {
        Some(OpReply::Range(range)) => range.kvs.into_iter().next(),
        _ => None,
    };
    // The object is as expected: then it was a claim or a quota that failed.
    if current.as_ref().map_or(0, |kv| kv.mod_revision) == write.expected {
        return Outcome::ClaimTaken;
    }
    Outcome::Changed(current)
}
