//! The Raft log in RocksDB: entries by index, and what goes with them, in one database with a synced WAL.
//!
//! ```text
//! 'c' committed   'e' index: 8, big endian   'p' purged   'v' vote
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use store_raft::disk::{LogDisk, LogHead, LogOp};

use crate::options::{self, failed};
use crate::wal;

const COMMITTED: &[u8] = b"c";
const ENTRY: u8 = b'e';
const AFTER_ENTRIES: &[u8] = b"f";
const PURGED: &[u8] = b"p";
const VOTE: &[u8] = b"v";

/// The log's database.
pub struct RocksLog {
    db: DB,
    sync: WriteOptions,
}

impl fmt::Debug for RocksLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksLog").field(&self.db.path()).finish()
    }
}

impl RocksLog {
    /// Opens or creates the database in this folder. What a crash left half written at its end is dropped;
    /// damage before the end is an error, and changes nothing.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if folder.exists() {
            check_wal(folder)?;
        }
        let db = DB::open(&options::log(), folder).map_err(failed)?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        Ok(Self { db, sync })
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(failed)
    }
}

impl LogDisk for RocksLog {
    fn head(&self) -> io::Result<LogHead> {
        let (vote, committed) = (self.get(VOTE)?, self.get(COMMITTED)?);
        Ok(LogHead { vote, committed, purged: self.get(PURGED)? })
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(if to == u64::MAX {
            AFTER_ENTRIES.to_vec()
        } else {
            key(to).to_vec()
        });
        let first = key(from);
        let start = IteratorMode::From(&first, Direction::Forward);
        let mut records = Vec::new();
        let mut bytes = 0;
        for item in self.db.iterator_opt(start, options) {
            let (key, record) = item.map_err(failed)?;
            bytes += record.len();
            if !records.is_empty() && bytes > bytes_max {
                break;
            }
            records.push((index(&key)?, record.into_vec()));
        }
        Ok(records)
    }

    fn commit(&self, ops: &[LogOp]) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for op in ops {
            match op {
                LogOp::Append(records) => {
                    records.iter().for_each(|(index, record)| batch.put(key(*index), record));
                }
                LogOp::Truncate { from } => {
                    batch.delete_range(&key(*from)[..], AFTER_ENTRIES);
                }
                LogOp::Purge { upto, mark } => {
                    batch.delete_range(key(0), key(upto + 1));
                    batch.put(PURGED, mark);
                }
                LogOp::Vote(vote) => batch.put(VOTE, vote),
                LogOp::Committed(committed) => batch.put(COMMITTED, committed),
            }
        }
        self.db.write_opt(batch, &self.sync).map_err(failed)?;
        for op in ops {
            if let LogOp::Purge { upto, .. } = op {
                // Tables that hold nothing else go at once, even if nothing is written any more. The end counts
                // here, as it does not in the write above.
                self.db.delete_file_in_range(key(0), key(*upto)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Whether replay will get to everything that was acknowledged: see [`wal`].
fn check_wal(folder: &Path) -> io::Result<()> {
    let finding = wal::look_through(folder)?;
    let Some(beyond) = finding.beyond else {
        if let Some(place) = finding.damaged {
            tracing::warn!(
                file = %place.file.display(),
                offset = place.offset,
                "the last write was cut off by a crash, and is dropped: nobody was told that it was done"
            );
        }
        return Ok(());
    };
    let db = DB::open_for_read_only(&options::log(), folder, false).map_err(failed)?;
    if db.latest_sequence_number() >= finding.last_sequence {
        return Ok(());
    }
    let damaged = finding.damaged.as_ref().unwrap_or(&beyond);
    let reason =
        format!("{damaged}: damaged; the intact writes from {beyond} on would be lost with it");
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

fn key(index: u64) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn index(key: &[u8]) -> io::Result<u64> {
    let digits = key.get(1..).and_then(|digits| <[u8; 8]>::try_from(digits).ok());
    let digits = digits.ok_or_else(|| io::Error::other(format!("strange key {key:02x?}")))?;
    Ok(u64::from_be_bytes(digits))
}
