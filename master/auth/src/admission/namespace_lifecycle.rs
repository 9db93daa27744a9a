//! NamespaceLifecycle: nothing is made in a namespace that is missing or ends, and the namespaces
//! that a cluster cannot do without stay.

use master_api::status::{ApiError, Subject};
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::json::text;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[derive(Debug)]
pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn mutate(&self, request: &Request<'_>, _object: &mut Value) -> Result<(), ApiError> {
        let is_namespace = request.group.is_empty() && request.resource == "namespaces";
        if is_namespace {
            let is_immortal = IMMORTAL.contains(&request.name);
            if request.operation == Operation::Delete && is_immortal {
                return Err(request.forbidden("this namespace may not be deleted"));
            }
            return Ok(());
        }
        // Reviews are questions about a namespace, not content of it; a delete must always be possible.
        let is_review =
            request.group == "authorization.k8s.io" && request.resource.ends_with("reviews");
        if request.namespace.is_empty() || is_review || request.operation == Operation::Delete {
            return Ok(());
        }
        let Some(namespace) = request.reader.get("", "namespaces", "", request.namespace) else {
            return Err(ApiError::not_found("", "namespaces", request.namespace));
        };
        let is_ending = text(&namespace, "/status/phase") == "Terminating"
            || namespace.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
        if is_ending && request.operation == Operation::Create {
            return Err(ApiError::NamespaceTerminating {
                subject: Subject::new(request.group, request.resource),
                name: request.name.to_owned(),
                namespace: request.namespace.to_owned(),
            });
        }
        Ok(())
    }
}
