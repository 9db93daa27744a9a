//! Pod specifications: the rules that pods and everything with a pod template share.

pub mod amounts;
pub(crate) mod containers;
pub(crate) mod defaults;
mod image;
pub(crate) mod probes;
mod roles;
pub(crate) mod status;
pub(crate) mod status_rules;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod volumes;
pub(crate) mod warnings;
