//! The roof: the real store, in a world whose network, disks, clock and randomness follow from a seed.
//!
//! ```text
//! scenario = workloads × faults × checks        (each in a file of its own; a scenario is data)
//! seed → sim (turmoil: one thread, simulated time) → history and trace → checks
//! ```
//! # Invariants
//! - The same seed gives the same trace, byte for byte.
//! - Everything behind the seams is the production code.

pub mod check;
pub mod fault;
pub mod history;
pub mod net;
pub mod scenario;
pub mod sim;
pub mod workload;
pub mod world;
