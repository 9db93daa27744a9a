//! ValidatingAdmissionPolicy: rules that a write must keep.

use std::sync::Arc;

use master_api::meta;
use master_api::status::ApiError;
use serde_json::Value;

use super::{Asked, EXEMPT, GROUP, Known, namespace_of};
use crate::admission::{Plugin, Request};
use crate::authz::Authorizer;
use crate::json::text;

const KIND: &str = "ValidatingAdmissionPolicy";

#[derive(Debug)]
pub(in crate::admission) struct ValidatingPolicy {
    known: Known,
    authorizer: Arc<Authorizer>,
}

impl ValidatingPolicy {
    pub(in crate::admission) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { known: Known::new("validatingadmissionpolicies"), authorizer }
    }
}

impl Plugin for ValidatingPolicy {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if EXEMPT.contains(&request.group) {
            return Ok(());
        }
        let bindings = request.reader.list(GROUP, "validatingadmissionpolicybindings", None);
        if bindings.is_empty() {
            return Ok(());
        }
        let namespace = namespace_of(request);
        let asked = Asked::new(request, &self.authorizer, object, &namespace);
        let mut refusal = None;
        for binding in &bindings {
            let name = text(binding, "/spec/policyName");
            let Some(compiled) = self.known.policy(request.reader, name) else { continue };
            let denials = match asked.bound(&compiled, binding) {
                Ok(params) => params
                    .iter()
                    .flat_map(|params| compiled.policy.judge(&asked.input(params)))
                    .collect(),
                Err(denial) => vec![denial],
            };
            let bound_by = meta::name(binding);
            for denial in denials {
                for action in meta::items(binding, &["spec", "validationActions"]) {
                    match action.as_str() {
                        Some("Deny") => {
                            let made = || asked.refusal(KIND, name, bound_by, &denial);
                            refusal.get_or_insert_with(made);
                        }
                        Some("Warn") => warnings.push(format!(
                            "Validation failed for {KIND} '{name}' with binding '{bound_by}': {}",
                            denial.message
                        )),
                        _ => {}
                    }
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}
