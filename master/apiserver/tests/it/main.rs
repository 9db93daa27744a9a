//! The API server as clients see it: over TLS, with the `kube` crate and with plain HTTP, on a store in memory.

mod kubectl;
mod objects;
mod wire;
mod world;
