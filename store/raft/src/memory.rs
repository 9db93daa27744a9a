//! Disks in memory, for tests and simulations: what was not synced or flushed is lost on a crash, as on real ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use store_mvcc::Record;

use crate::disk::{Each, LogDisk, LogHead, LogOp, Pair, StateDisk, StateReplacement, StateView};

#[derive(Debug, Default)]
struct Log {
    head: LogHead,
    entries: BTreeMap<u64, Vec<u8>>,
}

/// A log disk. Clones share it, so it outlives a member that crashes.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<Log>>);

impl LogDisk for MemoryLog {
    fn head(&self) -> io::Result<LogHead> {
        Ok(self.0.lock().head.clone())
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut bytes = 0;
        let log = self.0.lock();
        let until_full = log.entries.range(from..to).take_while(|(_, record)| {
            let fits = bytes == 0 || bytes + record.len() <= bytes_max;
            bytes += record.len();
            fits
        });
        Ok(until_full.map(|(index, record)| (*index, record.clone())).collect())
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        let mut log = self.0.lock();
        for op in ops {
            match op.clone() {
                LogOp::Append(records) => log.entries.extend(records),
                LogOp::Truncate { from } => drop(log.entries.split_off(&from)),
                LogOp::Purge { upto, mark } => {
                    log.entries = log.entries.split_off(&(upto + 1));
                    log.head.purged = Some(mark);
                }
                LogOp::Vote(vote) => log.head.vote = Some(vote),
                LogOp::Committed(committed) => log.head.committed = Some(committed),
            }
        }
        Ok(())
    }
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    now: Records,
    /// What a crash leaves: the records as of the last flush, and what was written since.
    flushed: Records,
    unflushed: Vec<Vec<Record>>,
}

/// A state disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryState(Arc<Mutex<State>>);

impl MemoryState {
    /// Forgets what was not flushed, but for the first `kept` writes of it: a crash.
    pub fn crash(&self, kept: usize) {
        let mut state = self.0.lock();
        let survivors: Vec<_> = std::mem::take(&mut state.unflushed);
        let mut records = std::mem::take(&mut state.flushed);
        survivors.into_iter().take(kept).for_each(|writes| change(&mut records, writes));
        state.now = records.clone();
        state.flushed = records;
    }

    /// How many writes a crash could lose now.
    pub fn unflushed(&self) -> usize {
        self.0.lock().unflushed.len()
    }
}

impl StateDisk for MemoryState {
    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        let records = self.0.lock().now.clone();
        records.iter().try_for_each(|(key, value)| each(key, value))
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().now.get(key).cloned())
    }

    fn write(&self, writes: Vec<Record>) -> io::Result<()> {
        let mut state = self.0.lock();
        change(&mut state.now, writes.clone());
        state.unflushed.push(writes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let written = std::mem::take(&mut state.unflushed);
        written.into_iter().for_each(|writes| change(&mut state.flushed, writes));
        Ok(())
    }

    fn view(&self) -> io::Result<Box<dyn StateView>> {
        let records = self.0.lock().now.clone();
        Ok(Box::new(MemoryView(records.into_iter())))
    }

    fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>> {
        Ok(Box::new(MemoryReplacement { disk: self.clone(), records: Records::new() }))
    }
}

fn change(records: &mut Records, writes: Vec<Record>) {
    for write in writes {
        match write {
            Record::Put { key, value } => drop(records.insert(key, value)),
            Record::Delete { key } => drop(records.remove(&key)),
        }
    }
}

#[derive(Debug)]
struct MemoryView(std::collections::btree_map::IntoIter<Vec<u8>, Vec<u8>>);

impl StateView for MemoryView {
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<Pair>> {
        let mut bytes = 0;
        let mut chunk = Vec::new();
        while bytes < bytes_max
            && let Some((key, value)) = self.0.next()
        {
            bytes += key.len() + value.len();
            chunk.push((key, value));
        }
        Ok(chunk)
    }
}

#[derive(Debug)]
struct MemoryReplacement {
    disk: MemoryState,
    records: Records,
}

impl StateReplacement for MemoryReplacement {
    fn put(&mut self, records: Vec<Pair>) -> io::Result<()> {
        self.records.extend(records);
        Ok(())
    }

    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        self.records.iter().try_for_each(|(key, value)| each(key, value))
    }

    fn install(self: Box<Self>) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.now = self.records.clone();
        state.flushed = self.records;
        state.unflushed.clear();
        Ok(())
    }
}
