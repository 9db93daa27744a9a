//! Where a version can be read again that is not in memory: its stored record.
//!
//! The state machine stays pure: whoever runs it hands it this seam. Records never change once they are
//! written, so a read can only find what was there, or that it is gone.

use std::collections::BTreeMap;

use crate::record::{self, Record};
use crate::types::{KeyValue, Revision};

/// Where a version stands in history: its revision, and its place among the writes of that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub revision: Revision,
    pub sub: u32,
}

/// A record that is needed and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable record {}: {reason}", record::hex(key))]
pub struct Unreadable {
    pub key: Vec<u8>,
    pub reason: String,
}

/// The stored records.
pub trait Versions: Send + Sync + std::fmt::Debug {
    /// The record under `key`, if there is one; or why that cannot be told.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// The version at `at`, checked.
    fn read(&self, at: Position) -> Result<KeyValue, Unreadable> {
        let key = record::version_key(at.revision, at.sub);
        let read = match self.get(&key) {
            Ok(Some(value)) => {
                record::parse_version(&key, &value).map_err(|corrupt| corrupt.reason)
            }
            Ok(None) => Err("missing".into()),
            Err(reason) => Err(reason),
        };
        read.map_err(|reason| Unreadable { key, reason })
    }
}

/// Reads the version at `at`, which must be one of `key`.
pub(crate) fn read_of(
    versions: &dyn Versions,
    key: &[u8],
    at: Position,
) -> Result<KeyValue, Unreadable> {
    let kv = versions.read(at)?;
    if kv.key != key {
        let reason = format!("holds key {} instead of {}", record::hex(&kv.key), record::hex(key));
        return Err(Unreadable { key: record::version_key(at.revision, at.sub), reason });
    }
    Ok(kv)
}

/// Records in memory, for tests and for stores that have no disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Makes the changes that an entry, or a sweep, asks for.
    pub fn store(&mut self, writes: Vec<Record>) {
        for write in writes {
            match write {
                Record::Put { key, value } => drop(self.0.insert(key, value)),
                Record::Delete { key } => drop(self.0.remove(&key)),
            }
        }
    }
}

impl Versions for Records {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(key).cloned())
    }
}
