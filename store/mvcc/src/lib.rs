//! The replicated state machine: keys, revisions, leases and history, as a pure function of the log.
//!
//! # Invariants
//! - `apply` reads no clock, draws no random number and performs no I/O: equal logs give equal state.
//! - `compacted <= revision`, and a revision is never reused.

pub mod codec;
mod history;
mod keyspace;
pub mod lease;
#[cfg(test)]
mod model;
pub mod page;
pub mod range;
pub mod record;
mod residents;
pub mod restore;
mod short;
pub mod state;
mod txn;
pub mod types;
pub mod versions;
mod writer;

pub use page::{Draft, Page};
pub use range::Found;
pub use record::{Corrupt, Record};
pub use restore::Restore;
pub use state::{Applied, Lack, State};
pub use types::*;
pub use versions::{Position, Unreadable, Versions};
