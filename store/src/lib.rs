//! `kstore`: the consensus store as a server of its own, with etcd's API, flags and variables.

pub mod app;
mod compaction;
pub mod config;
mod flags;
mod identity;
mod raft;
mod tls;
