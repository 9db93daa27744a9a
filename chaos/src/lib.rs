//! The roof: the real store, in a world whose network, disks, clock and randomness follow from a seed.
//!
//! ```text
//! scenario (chaos/scenario/*.toml) = workloads × faults × checks      each of them in a file of its own
//! seed → sim (turmoil: one thread, simulated time) → invariants at every step, history and trace → checks
//! mutant = scenario + a bug that only a simulation can hand in        the checks must find it
//! ```
//! # Invariants
//! - The same seed gives the same trace, byte for byte.
//! - Everything behind the seams is the production code.

pub mod check;
pub mod clock;
pub mod disk;
pub mod fault;
pub mod history;
pub mod kube;
pub mod lines;
mod lost;
pub mod member;
pub mod mutant;
pub mod net;
pub mod operator;
pub mod runner;
pub mod scenario;
mod scribe;
pub mod shrink;
pub mod sim;
pub mod workload;
pub mod world;
