//! RBAC escalation: a role or binding hands out no more than its author holds.

use std::sync::Arc;

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::authz::Authorizer;

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
                self.authorizer.check_role(request.identity, request.resource, object, request.old)
            }
            "rolebindings" | "clusterrolebindings" => {
                self.authorizer.check_binding(request.identity, object, request.old)
            }
            _ => Ok(()),
        };
        verdict.map_err(|reason| request.forbidden(reason))
    }
}
