//! What clients asked and heard, as the checkers want it; shared by all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaos::history::{
    Action, Final, History, Lead, Lease, Outcome, Revised, Sight, Watched, Write,
};
use parking_lot::Mutex;
use store_env::clock::SharedClock;

/// A record that is shared.
pub(crate) type SharedRecord = Arc<Record>;

#[derive(Debug)]
pub(crate) struct Record {
    clock: SharedClock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    history: History,
    last_value: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Record {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.clock.monotonic_us()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    /// A value that nobody has written.
    pub(crate) fn fresh_value(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_value += 1;
        inner.last_value
    }

    /// Notes what a client asks; returns where its outcome goes.
    pub(crate) fn call(&self, client: u32, key: &str, action: Action) -> usize {
        let now_us = self.now_us();
        self.inner.lock().history.call(client, key.into(), action, now_us)
    }

    pub(crate) fn answer(&self, at: usize, outcome: Outcome) {
        let now_us = self.now_us();
        self.inner.lock().history.answer(at, outcome, now_us);
    }

    pub(crate) fn see(&self, watcher: u32, prefix: &str, sight: Sight) {
        let watched = Watched { watcher, prefix: prefix.into(), sight };
        self.inner.lock().history.watched.push(watched);
    }

    /// A revision was seen, whole.
    pub(crate) fn change(&self, revision: i64, writes: &[Write]) {
        let seen_us = self.now_us();
        let change = || Revised { revision, seen_us, writes: writes.to_vec() };
        self.inner.lock().history.changes.entry(revision).or_insert_with(change);
    }

    pub(crate) fn lead(&self, lead: Lead) {
        let leads = &mut self.inner.lock().history.leads;
        if leads.last() != Some(&lead) {
            leads.push(lead);
        }
    }

    pub(crate) fn holds(&self, member: u64, held: Final) {
        self.inner.lock().history.finals.insert(member, held);
    }

    pub(crate) fn lease(&self, lease: Lease) -> usize {
        let leases = &mut self.inner.lock().history.leases;
        leases.push(lease);
        leases.len() - 1
    }

    pub(crate) fn on_lease(&self, at: usize, change: impl FnOnce(&mut Lease)) {
        change(&mut self.inner.lock().history.leases[at]);
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().counts.clone()
    }

    /// When each write was acknowledged, in order.
    pub(crate) fn acknowledged_ms(&self) -> Vec<u64> {
        let inner = self.inner.lock();
        let wrote = |outcome: Outcome| matches!(outcome, Outcome::Wrote { .. });
        let acknowledged = inner.history.operations.iter().filter(|it| wrote(it.outcome));
        let mut times: Vec<_> =
            acknowledged.filter_map(|it| Some(it.returned_us? / 1_000)).collect();
        times.sort_unstable();
        times
    }

    /// All of it so far.
    pub(crate) fn history(&self) -> History {
        self.inner.lock().history.clone()
    }
}
