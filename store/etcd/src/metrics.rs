//! What is counted here for the figures; the rest is asked of the store.
//!
//! # Invariants
//! - To count takes an atomic addition or two: no lock, and nothing is allocated.

pub(crate) mod calls;
mod histogram;
mod render;
pub(crate) mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use self::calls::Calls;
use self::histogram::Histogram;
use crate::probe::Checks;
pub(crate) use render::render;

/// Bytes on clients' connections that speak HTTP/2.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Rounds of read indexes.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) slow: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// What is counted here.
#[derive(Debug)]
pub struct Metrics {
    started_unix_ms: u64,
    pub(crate) calls: Calls,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) checks: Checks,
    /// Answers of `/health`.
    pub(crate) healthy: AtomicU64,
    pub(crate) unhealthy: AtomicU64,
    pub(crate) ranges: AtomicU64,
    pub(crate) promoted: AtomicU64,
    pub(crate) not_promoted: AtomicU64,
    pub(crate) hashes: Histogram,
    pub(crate) hashes_at: Histogram,
    pub(crate) defragmentations: Histogram,
    proposals_pending: AtomicI64,
    proposals_failed: AtomicU64,
    watch_streams: AtomicI64,
    watches: AtomicI64,
    defragmenting: AtomicI64,
    events: AtomicU64,
    leader_changes: AtomicU64,
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicI64);

impl<'a> Counted<'a> {
    fn new(of: &'a AtomicI64) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(of)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A proposal on its way.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    _counted: Counted<'a>,
    failed: &'a AtomicU64,
}

impl Pending<'_> {
    pub(crate) fn end(self, is_done: bool) {
        if !is_done {
            one(self.failed);
        }
    }
}

/// One more.
pub(crate) fn one(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    pub(crate) fn new(started_unix_ms: u64, times_calls: bool) -> Self {
        // From 10 ms, doubling, as etcd's.
        let long = || Histogram::doubling(0.01, 15);
        Self {
            started_unix_ms,
            calls: Calls::new(times_calls),
            traffic: Arc::default(),
            reads: Arc::default(),
            checks: Checks::default(),
            healthy: AtomicU64::new(0),
            unhealthy: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
            promoted: AtomicU64::new(0),
            not_promoted: AtomicU64::new(0),
            hashes: long(),
            hashes_at: long(),
            defragmentations: Histogram::doubling(0.1, 13),
            proposals_pending: AtomicI64::new(0),
            proposals_failed: AtomicU64::new(0),
            watch_streams: AtomicI64::new(0),
            watches: AtomicI64::new(0),
            defragmenting: AtomicI64::new(0),
            events: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
        }
    }

    pub(crate) fn propose(&self) -> Pending<'_> {
        let _counted = Counted::new(&self.proposals_pending);
        Pending { _counted, failed: &self.proposals_failed }
    }

    pub(crate) fn watch_stream(&self) -> Counted<'_> {
        Counted::new(&self.watch_streams)
    }

    pub(crate) fn watch(&self) -> Counted<'_> {
        Counted::new(&self.watches)
    }

    pub(crate) fn defragment(&self) -> Counted<'_> {
        Counted::new(&self.defragmenting)
    }

    pub(crate) fn events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn leader_changed(&self) {
        one(&self.leader_changes);
    }
}
