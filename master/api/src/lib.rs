//! The published contract of the masters: kinds, errors, selectors, patches; pure, no I/O.

pub mod access;

pub use k8s_openapi as k8s;
