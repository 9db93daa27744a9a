//! `kctl`: the command line of the house, with kubectl's flags, formats and messages.
//!
//! Talks to the masters over their API only.

pub mod api;
pub mod app;
pub mod cluster;
pub mod describe;
pub mod error;
pub mod flags;
pub mod manifest;
pub mod object;
pub mod patch;
pub mod print;
pub mod term;
pub mod tree;
pub mod verb;
pub mod workload;
