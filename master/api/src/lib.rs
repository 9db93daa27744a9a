//! The published contract of the masters: kinds, errors, selectors, patches; pure, no I/O.

pub mod access;
pub mod cidr;
pub mod cron;
pub mod field;
pub mod fields;
pub mod go;
pub mod jsonpath;
pub mod meta;
pub mod names;
pub mod patch;
pub mod percent;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod time;

pub use k8s_openapi as k8s;
