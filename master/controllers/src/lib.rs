//! The loops that move the cluster from what is to what should be. One file per controller.
//!
//! They run on the leading master only, and write through its API server with the term of their
//! leadership; every master keeps their inputs warm.

mod all;
mod context;
mod controller;
mod cron_job;
mod custom_resources;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slices;
mod endpoints;
mod error;
mod events;
mod garbage_collector;
mod informers;
mod job;
mod namespaces;
mod node_ipam;
mod node_lifecycle;
mod owner;
mod pod_gc;
mod pods;
mod queue;
mod replica_set;
mod resource_quota;
mod service_accounts;
mod service_pods;
mod service_ranges;
mod signing;
mod stateful_set;
mod storage_protection;
mod taint_eviction;
#[cfg(test)]
mod testing;
mod unseen;

pub use all::start;
pub use context::{Config, Context, CsrSubject, SignRequest, Signer};
pub use informers::{Informers, Known};
