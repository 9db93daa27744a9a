//! The API server as clients see it: over TLS, with the `kube` crate and with plain HTTP, on a store in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod applying;
mod applying_custom;
mod attacks;
mod attacks_identity;
mod attacks_logs;
mod attacks_nodes;
mod crd;
mod crd_definitions;
mod edges;
mod kubectl;
mod kubelet;
mod objects;
mod policies;
mod quota;
mod semantics;
mod subresources;
mod watching;
mod wire;
mod world;
