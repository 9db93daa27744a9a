//! The state's disk: what was not flushed is lost on a crash, but for as much as the disk had written.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use store_mvcc::Record;
use store_raft::disk::{Each, Pair, StateDisk, StateReplacement, StateView};
use store_raft::memory::MemoryState;

use crate::mutant::{self, Mutation};

#[derive(Debug)]
struct Inner {
    rng: StdRng,
    mutation: Option<Mutation>,
    /// With a mutation: what was written since the last flush.
    unflushed: Vec<Vec<Record>>,
    /// With a mutation: what was there before a snapshot was installed.
    replaced: Option<Vec<Pair>>,
    begun: usize,
    installed: usize,
}

/// A state's disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimState {
    disk: MemoryState,
    inner: Arc<Mutex<Inner>>,
}

impl SimState {
    /// An empty one.
    pub fn new(rng: StdRng, mutation: Option<Mutation>) -> Self {
        let mutation = mutation.filter(|mutation| mutation.is_of_state());
        let (unflushed, replaced) = (Vec::new(), None);
        let inner = Inner { rng, mutation, unflushed, replaced, begun: 0, installed: 0 };
        Self { disk: MemoryState::default(), inner: Arc::new(Mutex::new(inner)) }
    }

    /// Loses power.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        let kept = inner.rng.random_range(0..=self.disk.unflushed());
        self.disk.crash(kept);
        let Some(mutation) = inner.mutation else { return };
        let lost = std::mem::take(&mut inner.unflushed).split_off(kept);
        let extra = match mutation {
            Mutation::TornBatch => mutant::torn(lost, &mut inner.rng),
            Mutation::AppliedOutlivesData => mutant::applied_only(&lost),
            Mutation::InstallNotDurable => match inner.replaced.take() {
                Some(before) => mutant::back_to(before, &records(&self.disk)),
                None => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.put(extra);
    }

    /// Changes one bit of one record; returns it as it was.
    pub fn rot(&self) -> Option<Pair> {
        let mut records = records(&self.disk);
        if records.is_empty() {
            return None;
        }
        let mut inner = self.inner.lock();
        let at = inner.rng.random_range(0..records.len());
        let (key, value) = records.swap_remove(at);
        let mut rotten = value.clone();
        let byte = inner.rng.random_range(0..rotten.len());
        rotten[byte] ^= 1 << inner.rng.random_range(0..8);
        self.put(vec![Record::Put { key: key.clone(), value: rotten }]);
        Some((key, value))
    }

    /// Puts a record back.
    pub fn mend(&self, (key, value): Pair) {
        self.put(vec![Record::Put { key, value }]);
    }

    /// All that is on it now, on a disk of its own.
    pub fn copied(&self) -> MemoryState {
        let copy = MemoryState::default();
        let put = |(key, value)| Record::Put { key, value };
        let writes = records(&self.disk).into_iter().map(put).collect();
        copy.write(writes).and_then(|()| copy.flush()).expect("memory does not fail");
        copy
    }

    /// How many snapshots of others have begun to come in, and how many have been installed.
    pub fn snapshots(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.begun, inner.installed)
    }

    fn put(&self, writes: Vec<Record>) {
        self.disk.write(writes).and_then(|()| self.disk.flush()).expect("memory does not fail");
    }
}

fn records(disk: &MemoryState) -> Vec<Pair> {
    let mut records = Vec::new();
    let mut keep = |key: &[u8], value: &[u8]| {
        records.push((key.to_vec(), value.to_vec()));
        Ok(())
    };
    disk.load(&mut keep).expect("memory does not fail");
    records
}

impl StateDisk for SimState {
    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        self.disk.load(each)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.disk.get(key)
    }

    fn write(&self, writes: Vec<Record>) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let writes = match inner.mutation {
            Some(Mutation::ForgetsRemoved) => mutant::without_removed(writes),
            _ => writes,
        };
        if inner.mutation.is_some() {
            inner.unflushed.push(writes.clone());
        }
        self.disk.write(writes)
    }

    fn flush(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.mutation == Some(Mutation::FlushLies) {
            return Ok(());
        }
        inner.unflushed.clear();
        inner.replaced = None;
        self.disk.flush()
    }

    fn view(&self) -> io::Result<Box<dyn StateView>> {
        self.disk.view()
    }

    fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>> {
        self.inner.lock().begun += 1;
        Ok(Box::new(Incoming { state: self.clone(), replacement: self.disk.begin_replace()? }))
    }
}

#[derive(Debug)]
struct Incoming {
    state: SimState,
    replacement: Box<dyn StateReplacement>,
}

impl StateReplacement for Incoming {
    fn put(&mut self, records: Vec<Pair>) -> io::Result<()> {
        self.replacement.put(records)
    }

    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        self.replacement.load(each)
    }

    fn install(self: Box<Self>) -> io::Result<()> {
        let mut inner = self.state.inner.lock();
        inner.installed += 1;
        if inner.mutation == Some(Mutation::InstallNotDurable) {
            inner.replaced = Some(records(&self.state.disk));
        }
        inner.unflushed.clear();
        self.replacement.install()
    }
}
