//! What the store publishes: one trait, [`Handle`], and its types.
//!
//! Everything above the store (API server, etcd facade) holds an `Arc<dyn Handle>` and knows nothing
//! of Raft, RocksDB or the network. One battery of tests ([`battery`]) runs against every implementation.

pub mod archive;
pub mod battery;
pub mod compactor;
pub mod contents;
pub mod figures;
pub mod handle;
pub mod hub;
pub mod lessor;
pub mod local;
pub mod room;
pub mod watcher;

pub use handle::*;
pub use store_mvcc::types::*;
pub use watcher::Watcher;
