//! What this crate asks of disks: one that holds the log, one that holds the applied state.
//!
//! `store-rocks` implements both on RocksDB; [`crate::memory`] does in memory, losing on a crash what the
//! real ones may lose.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use store_mvcc::Record;

/// One change of the log's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Entries by index, following those that are there.
    Append(Vec<(u64, Vec<u8>)>),
    /// Removes the entries from this index on.
    Truncate { from: u64 },
    /// Removes the entries up to this index, and notes the last id that is gone.
    Purge { upto: u64, mark: Vec<u8> },
    /// Whom this member voted for, and in which term.
    Vote(Vec<u8>),
    /// A lower bound of what is committed. Need not be durable.
    Committed(Vec<u8>),
}

impl LogOp {
    /// Bytes of what it writes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(entries) => entries.iter().map(|(_, entry)| entry.len()).sum(),
            Self::Truncate { .. } => 0,
            Self::Purge { mark: value, .. } | Self::Vote(value) | Self::Committed(value) => {
                value.len()
            }
        }
    }
}

/// What a log disk holds besides the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    /// The mark of the last purge.
    pub purged: Option<Vec<u8>>,
}

/// Where the log is kept. Called by one writer and any number of readers.
pub trait LogDisk: Debug + Send + Sync + 'static {
    /// What is there when the member starts.
    fn head(&self) -> io::Result<LogHead>;

    /// The entries from `from` on, at most up to `to` (excluded), in order; stops early after
    /// `bytes_max`, but returns at least one if there is one.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// How long the commit of `ops`, which follows, takes where no thread waits for a disk: in simulations.
    /// A crash in between may leave any part of them.
    fn takes(&self, _ops: &[LogOp]) -> Duration {
        Duration::ZERO
    }

    /// Makes all of `ops` durable, in order, with one sync. An error is final: nothing may be assumed
    /// about what is on disk (the caller stops).
    fn commit(&self, ops: &[LogOp]) -> io::Result<()>;
}

/// A key and its value, as the state's disk sees it.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Takes a record: its key and its value.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<()> + 'a;

/// Where the applied state is kept, so that a restart need not replay the whole log, and memory need not
/// hold all of it.
///
/// Nothing here is durable until [`StateDisk::flush`] says so: the log is.
pub trait StateDisk: Debug + Send + Sync + 'static {
    /// Every record, in key order; ends at the first that is not taken.
    fn load(&self, each: &mut Each<'_>) -> io::Result<()>;

    /// One record, as written last.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Writes all or nothing, without waiting for the disk.
    fn write(&self, writes: Vec<Record>) -> io::Result<()>;

    /// Whether a small write would be taken at once now, without waiting for anything.
    fn is_ready(&self) -> bool {
        true
    }

    /// Makes everything written so far durable.
    fn flush(&self) -> io::Result<()>;

    /// All records as of now, to be read while writes go on.
    fn view(&self) -> io::Result<Box<dyn StateView>>;

    /// Begins to build what shall take this disk's place.
    fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>>;
}

/// An unchanging view of all records.
pub trait StateView: Debug + Send + 'static {
    /// The next records in key order, about `bytes_max` of them; none at the end.
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<Pair>>;
}

/// A new state in the making; dropping it leaves the old one as it is.
pub trait StateReplacement: Debug + Send + 'static {
    /// Adds records.
    fn put(&mut self, records: Vec<Pair>) -> io::Result<()>;

    /// Every record of it, in key order; ends at the first that is not taken.
    fn load(&self, each: &mut Each<'_>) -> io::Result<()>;

    /// Puts the new state in the old one's place. Durable when it returns.
    fn install(self: Box<Self>) -> io::Result<()>;
}
