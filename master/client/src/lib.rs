//! The client side of the control plane: a connection that knows all masters, kubeconfigs, informers.
//!
//! Knows no server type: what it shares with the masters is the wire.

pub mod informer;
pub mod kubeconfig;
pub mod masters;
pub mod pod;
pub mod yaml;
