//! One master's API server: HTTP in, objects out, the store behind a handle.
//!
//! `server/` accepts, `chain.rs` lists what happens to every request, `rest/` has a file per verb,
//! `storage/` is the only user of the store's handle, `cacher/` is this master's copy of all objects.
//!
//! Knows no Raft, no disk and no controller; kinds come from `master-registry`, judgement from
//! `master-auth`.

pub mod body;
pub mod bootstrap;
pub mod cacher;
pub mod call;
pub mod catalog;
pub mod chain;
pub mod components;
pub mod content;
pub mod discovery;
pub mod filter;
pub mod handler;
pub mod health;
pub mod metrics;
pub mod protobuf;
pub mod query;
pub mod request;
pub mod respond;
pub mod rest;
pub mod route;
pub mod served;
pub mod server;
pub mod storage;
pub mod subresource;
pub mod table;

pub use server::{ConfigError, KubeletClient, Server, ServerConfig, TlsMaterial};
