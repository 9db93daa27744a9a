//! The store's disks on RocksDB: one database for the log, one for the applied state.
//!
//! Only binaries and this crate's tests depend on it: everything else sees the traits of `store_raft::disk`.

mod log;
mod options;
pub mod space;
mod state;
mod wal;

pub use log::RocksLog;
pub use state::RocksState;
