//! `admissionregistration.k8s.io/v1`: what admission policies are about, and what they say.

pub(crate) mod expression;
pub mod matching;
pub mod policy;
pub(crate) mod rules;
pub(crate) mod type_check;
pub(crate) mod webhooks;
