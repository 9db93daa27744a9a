//! Paths below an object with a meaning of their own, and kinds that are answered but not kept.

pub mod backend;
pub mod binding;
pub mod connect;
pub mod event_socket;
pub mod eviction;
pub mod finalize;
pub mod kubelet;
pub mod links;
pub mod log_options;
pub mod log_socket;
pub mod pod_spec;
pub mod raw_text;
pub mod review;
pub mod scale;
pub mod token;
pub mod tunnel;
