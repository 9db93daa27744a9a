//! `kstore`: the consensus store as a server of its own, with etcd's API, flags and variables.

pub mod app;
pub mod command;
mod compaction;
pub mod config;
mod disks;
mod flags;
mod identity;
pub mod log;
mod quarantine;
mod raft;
mod tls;
