//! etcd's v3 API over [`store_handle::Handle`]: what etcd's clients and tools need not tell from etcd.
//!
//! It knows nothing of Raft, disks or flags. Requests are checked as etcd checks them, become commands of
//! the store, and refusals get etcd's codes and words, since clients match on them.
//!
//! # Path
//! [`serve`] → [`kv`], [`watch`], [`lease`], [`cluster`], [`maintenance`] → `store_handle::Handle`

mod auth;
mod authority;
mod check;
mod cluster;
mod convert;
pub mod errors;
pub mod facade;
#[cfg(test)]
mod fuzz;
mod gather;
mod health;
mod http;
mod kv;
mod lease;
mod maintenance;
pub mod metrics;
mod route;
pub mod serve;
pub mod urls;
mod watch;

pub use facade::{Facade, Facts, Options};

/// etcd's messages and services, as generated.
#[allow(
    unreachable_pub,
    missing_debug_implementations,
    clippy::too_many_lines,
    reason = "generated"
)]
pub mod proto {
    /// `etcdserverpb`: requests and replies.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// `mvccpb`: keys and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// `grpc.health.v1`.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}
