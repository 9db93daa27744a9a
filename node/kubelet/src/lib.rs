//! The kubelet: makes the pods of a node what their specifications say, and tells what they are.
//!
//! Decisions are pure (`plan.rs`, `status.rs`, `qos.rs`, `env.rs`, `backoff.rs`); each pod has one
//! worker that carries them out (`worker.rs`). State is learnt from the runtime and from the API only:
//! a kubelet that was killed goes on where it was.
//!
//! # Invariants
//! - Losing the masters, or the kubelet, stops no container.
//! - Restarting the kubelet restarts no container.

mod admit;
mod amount;
mod backoff;
mod cgroup;
mod config;
mod container;
mod context;
mod env;
mod error;
mod events;
mod field;
mod held;
mod hooks;
mod hosts;
mod image;
mod kill;
mod kubelet;
mod ledger;
mod messages;
mod node;
mod objects;
mod plan;
mod pleg;
mod pod;
mod probe;
mod qos;
mod resize;
mod resolv;
mod rotate;
mod sandbox;
mod server;
mod source;
mod start;
mod status;
mod statuses;
#[cfg(test)]
mod tests;
mod tls;
mod view;
mod volume;
mod worker;
mod workers;

pub use cgroup::{kill_all as kill_cgroups, remove_all as remove_cgroups};
pub use config::{Config, ServerTls};
pub use error::{Error, Result};
pub use kubelet::{Parts, PodStore, start};
pub use volume::unmount_all;

/// The version of Kubernetes whose kubelet this one is like.
pub const VERSION: &str = "v1.36.0";
