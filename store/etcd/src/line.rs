//! Waiting in line for a lock or an office, by etcd's recipe: a key of one's own below a common prefix, and
//! whoever's key is the oldest has it.
//!
//! # Invariants
//! - A place in line is left when its lease ends, and when the client that waits in it goes away.

use std::sync::Arc;

use bytes::Bytes;
use store_env::task::TaskResult;
use store_handle::{
    Command, Compare, DeleteRequest, EventKind, KeyRange, KeyValue, LeaseId, Op, OpReply, Order,
    PutRequest, RangeReply, RangeRequest, Reply, Revision, SortBy, Target, Txn, TxnReply,
    WatchItem, WatchRequest,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::facade::{Facade, unexpected};
use crate::{errors, metrics};

/// The lease of those who bring none, as in etcd.
const LEASE_TTL_S: i64 = 60;

/// Places of clients that are gone, to be left; more than that at once wait for their leases to end.
pub(crate) const LEFT_MAX: usize = 1_024;

/// A place in a line.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) prefix: Bytes,
    pub(crate) key: Bytes,
    pub(crate) lease: LeaseId,
    /// When it was taken: what is older comes first.
    pub(crate) created: Revision,
    /// What was written there before, if it was taken already.
    pub(crate) known: Option<KeyValue>,
    /// The revision of the reply that gave it.
    pub(crate) revision: Revision,
}

/// Leaves a place when it is dropped.
#[derive(Debug)]
pub(crate) struct Leaving {
    facade: Arc<Facade>,
    key: Option<Bytes>,
}

impl Leaving {
    pub(crate) fn new(facade: &Arc<Facade>, key: Bytes) -> Self {
        Self { facade: facade.clone(), key: Some(key) }
    }

    /// Stays.
    pub(crate) fn stay(mut self) {
        self.key = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.facade.leave(key);
        }
    }
}

/// Deletes the places that are to be left, until told to stop.
pub(crate) async fn clear(
    facade: Arc<Facade>,
    mut left: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
) -> TaskResult {
    loop {
        let key = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(key) = left.recv() => key,
        };
        let range = KeyRange::key(key);
        let delete = Op::Delete(DeleteRequest { range, prev_kv: false });
        let deleting = run(&facade, Txn { success: vec![delete], ..Txn::default() });
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            deleted = deleting => if let Err(status) = deleted {
                tracing::info!(%status, "a place in line stays until its lease ends");
            }
        }
    }
}

pub(crate) async fn run(facade: &Facade, txn: Txn) -> Result<TxnReply, Status> {
    match facade.propose(Command::Txn(txn)).await.map_err(errors::passed_on)? {
        Reply::Txn(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

/// `NAME/`
pub(crate) fn prefix_of(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

pub(crate) fn created_at(key: Bytes, revision: Revision) -> Compare {
    let range = KeyRange::key(key);
    Compare { range, order: Order::Equal, target: Target::CreateRevision(revision) }
}

/// The lease given, or a new one.
pub(crate) async fn session(facade: &Facade, lease: LeaseId) -> Result<LeaseId, Status> {
    if lease != 0 {
        return Ok(lease);
    }
    match facade.propose(Command::LeaseGrant { id: 0, ttl_s: LEASE_TTL_S }).await? {
        Reply::LeaseGranted { id, .. } => Ok(id),
        other => Err(unexpected(&other)),
    }
}

/// Takes a place, or finds the one that this lease has already.
pub(crate) async fn enter(
    facade: &Facade,
    name: &[u8],
    lease: LeaseId,
    value: Bytes,
) -> Result<Place, Status> {
    let lease = session(facade, lease).await?;
    let prefix = prefix_of(name);
    let key = Bytes::from([&prefix[..], format!("{lease:x}").as_bytes()].concat());
    let put = Op::Put(PutRequest { key: key.clone(), value, lease, ..PutRequest::default() });
    let range = KeyRange::key(key.clone());
    let txn = Txn {
        compare: vec![created_at(key.clone(), 0)],
        success: vec![put],
        failure: vec![Op::Range(RangeRequest { range, ..RangeRequest::default() })],
    };
    let mut reply = run(facade, txn).await?;
    let known = match reply.replies.pop() {
        Some(OpReply::Range(mut found)) => found.kvs.pop(),
        _ => None,
    };
    let created = known.as_ref().map_or(reply.revision, |kv| kv.create_revision);
    Ok(Place { prefix, key, lease, created, known, revision: reply.revision })
}

/// Waits until nobody is before `place`.
pub(crate) async fn wait_turn(facade: &Facade, place: &Place) -> Result<(), Status> {
    loop {
        let before = RangeRequest {
            range: KeyRange::prefix(place.prefix.clone()),
            limit: 1,
            sort_by: SortBy::CreateRevision,
            descending: true,
            max_create_revision: place.created - 1,
            ..RangeRequest::default()
        };
        let found = read(facade, before).await?;
        let Some(kv) = found.kvs.first() else { return Ok(()) };
        wait_deleted(facade, kv.key.clone(), found.revision + 1).await?;
    }
}

/// The first in line.
pub(crate) async fn first(facade: &Facade, prefix: Bytes) -> Result<RangeReply, Status> {
    let first = RangeRequest {
        range: KeyRange::prefix(prefix),
        limit: 1,
        sort_by: SortBy::CreateRevision,
        ..RangeRequest::default()
    };
    read(facade, first).await
}

pub(crate) async fn read(facade: &Facade, request: RangeRequest) -> Result<RangeReply, Status> {
    facade.read_index().await?;
    metrics::one(&facade.metrics.ranges);
    facade.handle.range(&request).map_err(errors::of_read).map_err(errors::passed_on)
}

/// Waits until the key is deleted, or history is too short to tell.
async fn wait_deleted(facade: &Facade, key: Bytes, start: Revision) -> Result<(), Status> {
    let request = WatchRequest { range: KeyRange::key(key), start };
    let mut watcher = facade.handle.watch(request).map_err(errors::of_read)?;
    loop {
        match watcher.next().await {
            Some(WatchItem::Events { events, .. }) => {
                if events.iter().any(|event| event.kind == EventKind::Delete) {
                    return Ok(());
                }
            }
            Some(WatchItem::Progress { .. }) => {}
            Some(WatchItem::Compacted { .. }) => return Ok(()),
            None => return Err(errors::stopped()),
        }
    }
}
