//! The agent of a machine: kubelet, proxy, DNS and pod network in one process, on a containerd of its own.
//!
//! This is the wiring; the rooms are `node-kubelet`, `node-proxy`, `node-net`, `node-dns`, `node-cri`.

pub mod app;
pub mod cli;
pub mod config;
pub mod containerd;
pub mod error;
pub mod image;
pub mod known;
pub mod network;
pub mod stop;

pub use error::{Error, Result};
