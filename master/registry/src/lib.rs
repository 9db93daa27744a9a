//! The registry of kinds: names, shapes, defaults, rules, tables and OpenAPI of everything served.
//!
//! Pure: knows no store, no clock and no network; objects come and go as JSON values.

pub mod admissionregistration;
pub mod apiextensions;
pub mod apps;
mod autoscalers;
pub mod autoscaling;
pub mod batch;
pub mod cel;
pub mod certificates;
mod check;
pub mod core;
pub mod custom;
pub mod devices;
pub mod discovery;
mod fill;
pub mod flowcontrol;
pub mod list;
pub mod networking;
pub mod objectmeta;
pub mod openapi;
pub mod patchmeta;
pub mod plain;
mod pod;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod rows;
mod rules;
pub mod schema;
mod statuses;
pub mod storage;
pub mod strategy;
pub mod table;
mod workload;

pub use list::builtin;
pub use pod::amounts as pod_amounts;
pub use resource::{Resource, Subresource};
pub use schema::{FieldValidation, Schema};
pub use strategy::{ClusterConfig, Column, Companion, Cx, Shape, Strategy};
