//! Where pods come from: the API, and files of this machine.

pub(crate) mod files;
pub(crate) mod mirror;
