//! RBAC escalation: a role or binding hands out no more than its author holds.

use std::sync::Arc;

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::authz::{Authorizer, Refused};

#[derive(Debug)]
pub(super) struct RbacEscalation {
    authorizer: Arc<Authorizer>,
}

impl RbacEscalation {
    pub(super) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { authorizer }
    }
}

impl Plugin for RbacEscalation {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        if request.group != "rbac.authorization.k8s.io" || !is_write {
            return Ok(());
        }
        let verdict = match request.resource {
            "roles" | "clusterroles" => {
                let (identity, resource) = (request.identity, request.resource);
                let verdict = self.authorizer.check_role(identity, resource, object, request.old);
                verdict.map_err(Refused::Escalates)
            }
            "rolebindings" | "clusterrolebindings" => {
                self.authorizer.check_binding(request.identity, object, request.old)
            }
            _ => Ok(()),
        };
        verdict.map_err(|refused| match refused {
            Refused::Escalates(reason) => request.forbidden(reason),
            Refused::NoRole { role, name } => ApiError::not_found(request.group, &role, &name),
        })
    }
}
