//! The registry of kinds: names, shapes, defaults, rules, tables and OpenAPI of everything served.
//!
//! Pure: knows no store, no clock and no network; objects come and go as JSON values.

pub mod list;
pub mod objectmeta;
pub mod openapi;
pub mod patchmeta;
pub mod plain;
pub mod resource;
pub mod schema;
pub mod strategy;
pub mod table;

pub use list::builtin;
pub use resource::{Resource, Subresource};
pub use schema::{FieldValidation, Schema};
pub use strategy::{ClusterConfig, Column, Companion, Cx, Shape, Strategy};
