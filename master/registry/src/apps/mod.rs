//! `apps/v1`.

pub mod daemonsets;
pub mod deployments;
pub mod replicasets;
pub mod statefulsets;
