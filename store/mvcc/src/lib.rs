//! The replicated state machine: keys, revisions, leases and history, as a pure function of the log.
//!
//! # Invariants
//! - `apply` reads no clock, draws no random number and performs no I/O: equal logs give equal state.
//! - `compacted <= revision`, and a revision is never reused.

pub mod types;

pub use types::*;
