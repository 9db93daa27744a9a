//! The store on Raft: a member of a group whose majority agrees on every write.
//!
//! openraft is hidden here: it breaks with nearly every release, and no other crate names it. Disks, network,
//! clock and randomness are handed in, so that the same code runs under simulation.
//!
//! # Path
//! `Handle::propose` → [`propose`] → openraft → [`log`] and [`network`] → [`machine`] → [`replica`] → reply

mod alarms;
pub mod battery;
pub mod config;
mod core;
pub mod disk;
mod door;
mod durations;
mod fail_over;
mod format;
mod hashes;
mod leading;
pub mod log;
mod log_size;
mod log_time;
pub mod machine;
mod members;
pub mod memory;
mod network;
mod peers;
mod propose;
mod read;
pub mod rebuild;
pub mod replica;
pub mod roster;
pub mod runtime;
mod slow_disk;
pub mod snapshot;
mod standing;
mod step;
mod store;
mod succession;
mod sweeper;
mod sync_stats;
mod traffic;
pub mod types;
mod wire;
mod writer;

/// The protocol between members, as generated.
#[expect(unreachable_pub, clippy::too_many_lines, reason = "generated")]
mod proto {
    tonic::include_proto!("trireme.store.peer.v1");
}

pub use config::{Config, Deps, REPLACE, Start, StartError};
pub use durations::Durations;
pub use replica::Progress;
pub use roster::Roster;
pub use store::RaftStore;
