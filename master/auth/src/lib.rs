//! Who may do what: authentication, authorization, admission, and the policy a cluster begins with.
//!
//! Knows objects only as JSON, and other objects only through `master_api::access::Reader`: no store,
//! no network, no tasks.

pub mod admission;
pub mod authn;
pub mod authz;
#[cfg(test)]
mod fixture;
mod json;
pub mod policy;
pub mod tokens;
