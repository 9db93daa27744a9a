//! `rbac.authorization.k8s.io/v1`.

pub mod bindings;
pub mod roles;
