//! The container runtime as the kubelet sees it: one trait shaped like CRI, and who implements it.
//!
//! The kubelet names no transport and no runtime; it holds a [`SharedRuntime`]. Messages are those of
//! CRI v1, re-exported as [`v1`].

mod client;
mod error;
mod fake;
mod runtime;

pub use client::CriClient;
pub use error::{Error, Result};
pub use fake::{Behaviour, Exit, Fake};
pub use k8s_cri::v1;
pub use runtime::{EventStream, Runtime, SharedRuntime};
