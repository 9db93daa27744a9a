//! What clients asked and heard, as the checkers want it; shared by all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaos::history::{
    Action, Final, History, Lead, Lease, Outcome, Revised, Sight, Watched, Write,
};
use chaos::world::{self, SharedWorld};
use parking_lot::Mutex;
use store_env::clock::SystemClock;

use super::masters::{Listed, acknowledged, gaps};

/// A record that is shared.
pub(crate) type SharedRecord = Arc<Record>;

#[derive(Debug)]
pub(crate) struct Record {
    /// Where workloads and nodes of simulations leave the same.
    pub(crate) world: SharedWorld,
    /// By which watches of masters began.
    pub(crate) lists: Mutex<Vec<Listed>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        world::be_real(SystemClock::shared());
        Self { world: SharedWorld::default(), lists: Mutex::default() }
    }

    pub(crate) fn now_us(&self) -> u64 {
        world::now_us()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        world::now_us() / 1_000
    }

    /// A value that nobody has written.
    pub(crate) fn fresh_value(&self) -> u64 {
        self.world.lock().fresh_value()
    }

    /// Notes what a client asks; returns where its outcome goes.
    pub(crate) fn call(&self, client: u32, key: &str, action: Action) -> usize {
        let now_us = self.now_us();
        self.world.lock().history.call(client, key.into(), action, now_us)
    }

    pub(crate) fn answer(&self, at: usize, outcome: Outcome) {
        let now_us = self.now_us();
        self.world.lock().history.answer(at, outcome, now_us);
    }

    pub(crate) fn see(&self, watcher: u32, prefix: &str, sight: Sight) {
        let watched = Watched { watcher, prefix: prefix.into(), sight };
        self.world.lock().history.watched.push(watched);
    }

    /// A revision was seen, whole.
    pub(crate) fn change(&self, revision: i64, writes: &[Write]) {
        let seen_us = self.now_us();
        let change = || Revised { revision, seen_us, writes: writes.to_vec() };
        self.world.lock().history.changes.entry(revision).or_insert_with(change);
    }

    /// A part of a revision was seen: what it made of one key.
    pub(crate) fn change_of(&self, revision: i64, write: &Write) {
        let seen_us = self.now_us();
        let mut world = self.world.lock();
        let change = || Revised { revision, seen_us, writes: Vec::new() };
        let change = world.history.changes.entry(revision).or_insert_with(change);
        match change.writes.iter().find(|known| known.key == write.key) {
            Some(known) if known.value != write.value => {
                let key = &write.key;
                let violation = format!("masters differ in what revision {revision} made of {key}");
                world.violations.push(violation);
            }
            Some(_) => {}
            None => change.writes.push(write.clone()),
        }
    }

    /// Once nobody tells more: adds what went, and what was written, while nobody watched.
    pub(crate) fn fill_gaps(&self) {
        let seen_us = self.now_us();
        let mut world = self.world.lock();
        let written = acknowledged(&world.history);
        let gone = gaps(&world.history, &self.lists.lock());
        for (revision, write) in written.into_iter().chain(gone) {
            let change = || Revised { revision, seen_us, writes: Vec::new() };
            world.history.changes.entry(revision).or_insert_with(change).writes.push(write);
            world.count("changes that no watch told");
        }
    }

    /// Notes that a member leads once it says so twice: an answer is put together from what may change
    /// meanwhile. `before` is what it said last.
    pub(crate) fn lead(&self, before: &mut Option<Lead>, says: Option<Lead>) {
        if let Some(lead) = says
            && *before == says
        {
            let leads = &mut self.world.lock().history.leads;
            if leads.last() != Some(&lead) {
                leads.push(lead);
            }
        }
        *before = says;
    }

    pub(crate) fn holds(&self, member: u64, held: Final) {
        self.world.lock().history.finals.insert(member, held);
    }

    pub(crate) fn lease(&self, lease: Lease) -> usize {
        let leases = &mut self.world.lock().history.leases;
        leases.push(lease);
        leases.len() - 1
    }

    pub(crate) fn on_lease(&self, at: usize, change: impl FnOnce(&mut Lease)) {
        change(&mut self.world.lock().history.leases[at]);
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.world.lock().count(what);
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.world.lock().counts.clone()
    }

    /// When each write was acknowledged, in order.
    pub(crate) fn acknowledged_ms(&self) -> Vec<u64> {
        let world = self.world.lock();
        let wrote = |outcome: Outcome| matches!(outcome, Outcome::Wrote { .. });
        let acknowledged = world.history.operations.iter().filter(|it| wrote(it.outcome));
        let mut times: Vec<_> =
            acknowledged.filter_map(|it| Some(it.returned_us? / 1_000)).collect();
        times.sort_unstable();
        times
    }

    /// All of it so far.
    pub(crate) fn history(&self) -> History {
        self.world.lock().history.clone()
    }
}
