//! `apiextensions.k8s.io/v1`: the kind that defines kinds.

pub mod customresourcedefinitions;
mod formats;
mod names;
mod rule_costs;
mod schema_rules;
mod validate;
