//! The replicated state machine: keys, revisions, leases and history, as a pure function of the log.
//!
//! # Invariants
//! - `apply` reads no clock, draws no random number and performs no I/O: equal logs give equal state.
//! - `compacted <= revision`, and a revision is never reused.

pub mod codec;
mod keyspace;
pub mod lease;
#[cfg(test)]
mod model;
mod range;
pub mod record;
pub mod state;
mod txn;
pub mod types;
mod writer;

pub use record::{Corrupt, Record};
pub use state::{Applied, Page, State};
pub use types::*;
