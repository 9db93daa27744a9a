//! etcd's v3 API over [`store_handle::Handle`]: what etcd's clients and tools need not tell from etcd.
//!
//! It knows nothing of Raft, disks or flags. Requests are checked as etcd checks them, become commands of
//! the store, and refusals get etcd's codes and words, since clients match on them.
//!
//! # Path
//! [`serve`] → [`route`] (JSON: [`gateway`]) → [`kv`], [`watch`], [`lease`], [`cluster`], [`maintenance`], [`lock`], [`election`] → `store_handle::Handle`

mod auth;
mod authority;
mod check;
mod cluster;
mod convert;
mod election;
pub mod errors;
pub mod facade;
pub mod facts;
pub mod front;
#[cfg(test)]
mod fuzz;
mod gateway;
mod gather;
mod health;
mod http;
mod kv;
mod lease;
mod line;
mod lock;
mod maintenance;
pub mod metrics;
mod probe;
mod route;
pub mod serve;
mod standing;
pub mod urls;
mod watch;

pub use facade::{Facade, Options};
pub use facts::{Durations, Facts, Figures};

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
    /// `v3lockpb`: locks.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// `v3electionpb`: elections.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    /// `grpc.health.v1`.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}
